"""Tokens per second of a training step on the CPU: Tutelage, a plain GPT in nanoGPT's manner, transformers' Trainer.

    python benchmarks/train_cpu.py [--quick]

The same GPT-2 (256 wide, 6 layers, 8 heads, 8,192 tokens, untied head) with the same weights, rows (16 of 256 tokens),
threads and precision; first it is checked that all three compute the same loss. Each side trains with its own loop and
its own defaults of speed. Nothing is timed before its second step.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import tutelage  # noqa: F401  first: it sets what torch's libraries read when they are loaded

# isort: split
import torch
import torch.nn.functional as F
from common import alternate, finish, gemm_rate, summary
from torch import Tensor, nn

from tutelage.model.describe import forward_flops
from tutelage.model.io import load_model
from tutelage.pretraining.objective import NextToken, pack_documents
from tutelage.store.events import EventLog
from tutelage.training.config import TrainingConfig
from tutelage.training.loop import train

LENGTH, ROWS, VOCABULARY, WIDTH, LAYERS, HEADS = 256, 16, 8192, 256, 6, 8
RATE = 3e-4


class PlainBlock(nn.Module):
    """Pre-norm block with one matrix for queries, keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.c_attn, self.c_proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.c_fc, self.mlp_proj = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.c_attn(self.ln_1(x)).chunk(3, -1))
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + self.c_proj(attended)
        return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class PlainGPT(nn.Module):
    """GPT-2 as nanoGPT has it: all logits at once, F.cross_entropy over them."""

    def __init__(self) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.ModuleList(PlainBlock() for _ in range(LAYERS))
        self.ln_f, self.lm_head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(self.lm_head(self.ln_f(x)).flatten(0, 1), targets.flatten())


def plain_from(hf: Any) -> PlainGPT:
    """The plain model with the weights of a transformers GPT-2 (whose matrices lie transposed)."""
    plain, state = PlainGPT(), {}
    for name, value in hf.state_dict().items():
        name = name.removeprefix("transformer.").replace("h.", "blocks.", 1) if ".h." in name else name
        name = name.removeprefix("transformer.")
        name = name.replace(".attn.c_attn", ".c_attn").replace(".attn.c_proj", ".c_proj")
        name = name.replace(".mlp.c_fc", ".c_fc").replace(".mlp.c_proj", ".mlp_proj")
        if name.startswith("blocks.") and value.dim() == 2:
            value = value.T
        state[name] = value.contiguous()
    plain.load_state_dict(state)
    return plain


class Data:
    """Rows of random text-like tokens: targets are the tokens one further on."""

    def __init__(self, steps: int) -> None:
        generator = torch.Generator().manual_seed(0)
        ranks = torch.arange(1, VOCABULARY, dtype=torch.float64)
        drawn = torch.multinomial((1 / ranks).expand(steps * ROWS, -1), LENGTH - 1, True, generator=generator)
        self.documents = (drawn + 1).tolist()
        self.rows = pack_documents(self.documents, 0, LENGTH)
        self.tokens = torch.from_numpy(self.rows.tokens).long()
        self.targets = torch.from_numpy(self.rows.targets).long()

    def objective(self) -> NextToken:
        return NextToken({"train": self.rows}, torch.ones(VOCABULARY, dtype=torch.int64), 0)


def ours(source: Path, data: Data, steps: int, precision: str, compiled: bool = False) -> float:
    model, times = load_model(source), []
    config = TrainingConfig(
        steps=steps, batch_rows=ROWS, learning_rate=RATE, log_every=1, precision=precision, compile=compiled,
        layers_every=0, checkpoint_seconds=1e9, schedule="constant", warmup_steps=0,
    )  # fmt: skip
    log = EventLog(listeners=(lambda event: times.append(time.perf_counter()) if event["event"] == "step" else None,))
    with tempfile.TemporaryDirectory() as work:
        train(model, data.objective(), config, Path(work), log, 1)
    return ROWS * LENGTH * (len(times) - 1) / (times[-1] - times[0])


def plainly(hf: Any, data: Data, steps: int, precision: str, compiled: bool) -> float:
    model: Any = plain_from(hf)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.1)
    if compiled:
        model = torch.compile(model)
    times = []
    for step in range(steps):
        rows = slice(step * ROWS, (step + 1) * ROWS)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = model(data.tokens[rows], data.targets[rows])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter())
    return ROWS * LENGTH * (steps - 1) / (times[-1] - times[0])


def with_trainer(source: Path, data: Data, steps: int, precision: str) -> float:
    from transformers import GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

    times = []

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            times.append(time.perf_counter())

    examples = [{"input_ids": row, "labels": row} for row in data.tokens[: steps * ROWS]]
    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(
            out, per_device_train_batch_size=ROWS, max_steps=steps, learning_rate=RATE, weight_decay=0.1, use_cpu=True,
            bf16=precision == "bfloat16", report_to="none", save_strategy="no", logging_strategy="no",
            disable_tqdm=True, lr_scheduler_type="constant",
        )  # fmt: skip
        model = GPT2LMHeadModel.from_pretrained(source)
        Trainer(model, arguments, train_dataset=examples, callbacks=[Clock()]).train()
    return ROWS * LENGTH * (len(times) - 1) / (times[-1] - times[0])


def own_products(dtype: torch.dtype, seconds: float = 2.0) -> float:
    """FLOP/s of the very products of a step's linear layers, forward and backward, and of nothing else.

    What a step could reach if everything but them took no time; large square products are faster.
    """
    shapes = [*[(WIDTH, WIDTH)] * 4, (WIDTH, 4 * WIDTH), (4 * WIDTH, WIDTH)] * LAYERS + [(WIDTH, VOCABULARY)]
    count = ROWS * LENGTH
    made = {(a, b): [torch.randn(*size).to(dtype) for size in ((count, a), (b, a), (count, b))]
            for a, b in set(shapes)}  # fmt: skip

    def once() -> None:
        for shape in shapes:
            x, weight, slope = made[shape]
            x @ weight.T, slope @ weight, slope.T @ x

    once()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        once()
        times.append(time.perf_counter() - begin)
    return sum(6 * count * a * b for a, b in shapes) / min(times)


def check(hf: Any, source: Path, data: Data) -> float:
    """Largest difference of the mean loss between the three on the first batch."""
    tokens, targets = data.tokens[:ROWS], data.targets[:ROWS]
    with torch.no_grad():
        theirs = float(F.cross_entropy(hf.eval()(tokens).logits.flatten(0, 1), targets.flatten()))
        plain = float(plain_from(hf)(tokens, targets))
        loss = data.objective().loss(load_model(source), data.rows.batch(np.arange(ROWS)))
    own = float(loss.sum / loss.weight)
    return max(abs(theirs - plain), abs(theirs - own))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it runs")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    steps, rounds = (3, 1) if options.quick else (12, options.rounds)
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    hf = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_positions=LENGTH, n_embd=WIDTH, n_layer=LAYERS,
                                    n_head=HEADS, tie_word_embeddings=False, resid_pdrop=0.0, embd_pdrop=0.0,
                                    attn_pdrop=0.0, bos_token_id=0, eos_token_id=0))  # fmt: skip
    data = Data(steps)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        hf.save_pretrained(source)
        difference = check(hf, source, data)
        print(f"largest difference of the loss between the three: {difference:.1e}")
        assert difference < 1e-5
        best = "bfloat16" if torch.cpu._is_avx512_bf16_supported() else "float32"
        runs = {
            "tutelage": lambda: ours(source, data, steps, "auto"),
            "tutelage compiled": lambda: ours(source, data, steps, "auto", True),
            "plain float32 eager": lambda: plainly(hf, data, steps, "float32", False),
            "plain float32 compiled": lambda: plainly(hf, data, steps, "float32", True),
            "Trainer": lambda: with_trainer(source, data, steps, "float32"),
        }
        if best == "bfloat16":
            runs |= {
                "plain bfloat16": lambda: plainly(hf, data, steps, best, False),
                "plain bfloat16 compiled": lambda: plainly(hf, data, steps, best, True),
                "Trainer bfloat16": lambda: with_trainer(source, data, steps, best),
            }
        else:
            print("this CPU does not multiply in bfloat16: the bfloat16 lines are left out")
        runs["GFLOP/s of the step's own products"] = lambda: own_products(getattr(torch, best)) / 1e9
        runs["GFLOP/s of matrix products"] = lambda: gemm_rate(getattr(torch, best)) / 1e9  # in every round: it varies
        figures = {name: summary(values) for name, values in alternate(runs, rounds).items()}
        ceiling = 1e9 * figures.pop("GFLOP/s of matrix products")["median"]
        shapes = 1e9 * figures.pop("GFLOP/s of the step's own products")["median"]
        flops = 3 * forward_flops(load_model(source).config, LENGTH)
    own = figures["tutelage"]["median"]
    finish("train_cpu", {
        "tokens_per_second": figures, "ratio": {name: own / value["median"] for name, value in figures.items()},
        "gemm_flops": ceiling, "gemm_share": own * flops / ceiling,
        "own_products_flops": shapes, "own_products_share": own * flops / shapes,
        "flops_per_token": flops, "precision": best, "loss_difference": difference,
    })  # fmt: skip


if __name__ == "__main__":
    main()
