"""Samples per second of finetuning on the CPU: Tutelage and TRL, instruction and preference, whole model and LoRA.

    tutelage import smollm2 models/smollm2
    python benchmarks/finetune_cpu.py models/smollm2 pairs.json [--quick]

pairs.json: rows with instruction (and input), chosen and rejected. Both sides get the same model (float32 weights,
bfloat16 autocast), the same pairs in steps of eight, at most 256 tokens, AdamW, and learn the answers alone. It is
checked that the loss of the first eight is that of transformers, or ln 2 (TRL also learns the newline behind the stop
token, so its own first loss is lower). Tutelage packs whole samples into rows, reads a prompt once for both of its
answers, and asks the reference before training, which is counted in its time; TRL pads, and asks it in each step. Each
run is a process of its own, with the library settings and the peak memory of its side.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

BATCH, CONTEXT, RATE, BETA, RANK = 8, 256, 1e-5, 0.1, 8


def rows_of(path: Path, count: int) -> list[dict[str, Any]]:
    """Pairs short enough that neither side cuts anything."""
    from tutelage.finetuning.data.preferences import read_preferences
    from tutelage.store.events import EventLog

    return [row for row in read_preferences(path, EventLog())[0] if len(row["prompt"]) + len(row["chosen"]) < 600][
        :count
    ]


def ours(source: Path, rows: list[dict[str, Any]], method: str, lora: bool) -> dict[str, float]:
    import tutelage  # noqa: F401, I001  (its settings of the libraries come before torch)
    import torch

    from tutelage.finetuning.common import adapt
    from tutelage.finetuning.examples import encode_conversations
    from tutelage.finetuning.instruct.objective import Instruction
    from tutelage.finetuning.prefer.examples import encode_pairs
    from tutelage.finetuning.prefer.objective import Preference
    from tutelage.finetuning.prefer.reference import add_reference
    from tutelage.model.io import load_model
    from tutelage.model.lora_config import LoraConfig
    from tutelage.store.events import EventLog
    from tutelage.tokenizer.tokenizer import Tokenizer
    from tutelage.training.config import TrainingConfig
    from tutelage.training.data.packing import pack
    from tutelage.training.loop import train

    tok, model, log = Tokenizer.load(source), load_model(source), EventLog()
    if method == "instruct":
        talks = [{"messages": [*row["messages"], {"role": "assistant", "content": row["chosen"]}]} for row in rows]
        examples, _ = encode_conversations(tok, talks).fitting(CONTEXT)
    else:
        examples, _ = encode_pairs(tok, rows, model.config.can_branch).fitting(CONTEXT)
    assert len(examples) == len(rows)
    # Rows of 256 tokens, as many a step as hold eight samples on average.
    packed = pack(examples, CONTEXT, tok.pad_id)
    first = pack(examples[:BATCH], CONTEXT, tok.pad_id)
    batch_rows = max(1, round(BATCH * len(packed) / len(rows)))
    config = TrainingConfig(
        epochs=1, batch_rows=batch_rows, learning_rate=RATE, precision="bfloat16", schedule="constant", warmup_steps=0,
        log_every=1, layers_every=0, checkpoint_seconds=1e9,
    )  # fmt: skip
    times = [time.perf_counter()]
    listening = EventLog(
        listeners=(lambda event: times.append(time.perf_counter()) if event["event"] == "step" else None,)
    )
    objective: Any
    with tempfile.TemporaryDirectory() as work:
        if method == "prefer":
            exact = config.model_copy(update={"precision": "float32"})
            add_reference(model, "", first, exact, Path(work), log)
            times[0] = time.perf_counter()
            add_reference(model, "", packed, config, Path(work), log)
            asked = time.perf_counter() - times[0]
            objective = Preference(packed, packed, "sigmoid", BETA)
        else:
            asked, objective = 0.0, Instruction(packed, packed)
        with torch.no_grad():
            loss = objective.loss(model, first.batch(np.arange(len(first))))
        if lora:
            adapt(model, LoraConfig(rank=RANK, alpha=2 * RANK), 1, log)
        import tutelage.training.loop as loop

        loop.validate = lambda *given: {"loss": 0.0}  # TRL does not validate either
        train(model, objective, config, Path(work), listening, 1)
    steps = times[2:]  # from the end of the first step
    share = (len(steps) - 1) / (len(times) - 1)
    seconds = steps[-1] - steps[0] + asked * share
    found = {"samples": len(rows) * share / seconds, "loss": float(loss.sum / loss.weight)}
    return (
        {**found, "loss_by_transformers": transformers_loss(source, examples[:BATCH])}
        if method == "instruct"
        else found
    )


def transformers_loss(source: Path, examples: list[Any]) -> float:
    """Mean negative log-likelihood of the learned tokens of these samples, each read by itself by transformers."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    total = weight = 0.0
    for segment in (segment for example in examples for segment in example.segments):
        with torch.no_grad():
            logits = model(torch.tensor([segment.tokens])).logits[0]
        nll = torch.nn.functional.cross_entropy(logits, torch.tensor(segment.targets), reduction="none")
        learned = torch.tensor(segment.weights)
        total, weight = total + float((nll * learned).sum()), weight + float(learned.sum())
    return total / weight


def theirs(source: Path, rows: list[dict[str, Any]], method: str, lora: bool) -> dict[str, float]:
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

    torch.set_num_threads(2)
    times: list[float] = []
    losses: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            times.append(time.perf_counter())

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
            losses.extend([logs["loss"]] if "loss" in logs else [])

    def turn(role: str, content: str) -> list[dict[str, str]]:
        return [{"role": role, "content": content}]

    tok, model = (
        AutoTokenizer.from_pretrained(source),
        AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32),
    )
    peft = None
    if lora:
        from peft import LoraConfig

        peft = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    with tempfile.TemporaryDirectory() as out:
        common = {
            "output_dir": out, "per_device_train_batch_size": BATCH, "num_train_epochs": 1, "learning_rate": RATE,
            "bf16": True, "use_cpu": True, "report_to": "none", "save_strategy": "no", "logging_steps": 1,
            "disable_tqdm": True, "lr_scheduler_type": "constant", "max_length": CONTEXT,
            "gradient_checkpointing": False, "seed": 1, "weight_decay": 0.1, "max_grad_norm": 1.0,
        }  # fmt: skip
        asked = [{"prompt": [dict(m) for m in row["messages"]]} for row in rows]
        if method == "instruct":
            from trl import SFTConfig, SFTTrainer

            data = [{**a, "completion": turn("assistant", row["chosen"])} for a, row in zip(asked, rows, strict=True)]
            trainer: Any = SFTTrainer(model, args=SFTConfig(**common), train_dataset=Dataset.from_list(data),
                                      processing_class=tok, callbacks=[Clock()], peft_config=peft)  # fmt: skip
        else:
            from trl import DPOConfig, DPOTrainer

            data = [{**a, "chosen": turn("assistant", row["chosen"]), "rejected": turn("assistant", row["rejected"])}
                    for a, row in zip(asked, rows, strict=True)]  # fmt: skip
            trainer = DPOTrainer(model, args=DPOConfig(beta=BETA, **common), train_dataset=Dataset.from_list(data),
                                 processing_class=tok, callbacks=[Clock()], peft_config=peft)  # fmt: skip
        trainer._get_train_sampler = lambda *given: torch.utils.data.SequentialSampler(trainer.train_dataset)
        trainer.train()
    return {"samples": BATCH * (len(times) - 1) / (times[-1] - times[0]), "loss": losses[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it runs")
    parser.add_argument("--steps", type=int, default=12, help="of eight samples, in each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="instruct or prefer: the other is left out")
    parser.add_argument("--run", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    steps, rounds = (3, 1) if options.quick else (options.steps, options.rounds)
    if options.run:
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        side, method, kind = options.run.split(",")
        rows = json.loads(options.pairs.read_text())
        found = (ours if side == "tutelage" else theirs)(options.model, rows, method, kind == "lora")
        assert side == "tutelage" or "tutelage" not in sys.modules  # whose settings of the libraries are not TRL's
        print(json.dumps({**found, "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}))
        return
    import torch
    from common import alternate, finish, gemm_rate, summary

    said: dict[str, list[dict[str, float]]] = {}
    pairs_file = Path(tempfile.mkstemp(suffix=".json")[1])
    pairs_file.write_text(json.dumps(rows_of(options.pairs, BATCH * steps)))

    def one(name: str) -> float:
        command = [sys.executable, __file__, str(options.model), str(pairs_file), "--run", name]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        said.setdefault(name, []).append(json.loads(done.stdout.splitlines()[-1]))
        return said[name][-1]["samples"]

    methods = [options.only] if options.only else ["instruct", "prefer"]
    names = [
        f"{side},{method},{kind}" for method in methods for kind in ("full", "lora") for side in ("tutelage", "trl")
    ]
    runs: dict[str, Any] = {name: (lambda name=name: one(name)) for name in names}
    runs["GFLOP/s of matrix products"] = lambda: gemm_rate(torch.bfloat16) / 1e9
    figures = {name: summary(values) for name, values in alternate(runs, rounds, unmeasured=False).items()}
    for method in methods:
        own, other = (said[f"{side},{method},full"][0] for side in ("tutelage", "trl"))
        reference = own.get("loss_by_transformers", math.log(2))
        print(
            f"{method}: loss of the first eight: {own['loss']:.5f}; by definition {reference:.5f}; "
            f"TRL's {other['loss']:.4f}"
        )
        assert abs(own["loss"] - reference) < 1e-3 * reference, (own, reference)
    pairs = [(name, name.replace("tutelage", "trl")) for name in names if name.startswith("tutelage")]
    finish("finetune_cpu", {
        "samples_per_second": figures,
        "ratio": {a.split(",", 1)[1]: round(figures[a]["median"] / figures[b]["median"], 3) for a, b in pairs},
        "memory_mb": {name: max(one["memory_mb"] for one in values) for name, values in said.items()},
        "steps": steps, "batch": BATCH, "context": CONTEXT,
    })  # fmt: skip
    pairs_file.unlink()


if __name__ == "__main__":
    main()
