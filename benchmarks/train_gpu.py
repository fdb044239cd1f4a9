"""Tokens per second and MFU of one GPU, from 30M to 1B parameters, beside a plain GPT in nanoGPT's manner.

    python benchmarks/train_gpu.py [--sizes 30M 124M] [--quick]

Decoders of Llama's kind on packed rows of 1,024 tokens, bfloat16 over float32 weights, compiled blocks, AdamW; the
largest number of rows at once that fits (at most 512k tokens a step). MFU counts three times the forward pass with
attention over the whole row (PaLM, appendix B) against the data sheet. The plain GPT (124M alone) is
`train_cpu.PlainGPT` made larger, compiled, at the same rows. Without a GPU it says so; --quick is a tiny model.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import tutelage  # noqa: F401  first: it sets what torch's libraries read when they are loaded

# isort: split
import torch
import train_cpu as cpu
from common import finish

from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.describe import forward_flops
from tutelage.model.families import FamilyConfig
from tutelage.pretraining.objective import NextToken, pack_documents
from tutelage.store.device import ceiling
from tutelage.store.events import EventLog
from tutelage.training.config import TrainingConfig
from tutelage.training.loop import train

LENGTH, STEP_TOKENS, VOCABULARY = 1024, 1 << 19, 50304
SIZES = {
    "30M": (384, 6, 6),
    "124M": (768, 12, 12),
    "350M": (1024, 24, 16),
    "760M": (1536, 24, 16),
    "1B": (2048, 18, 16),
}
STEPS, FIRST = 12, 4  # the first ones compile


def shape(width: int, layers: int, heads: int, vocabulary: int = VOCABULARY) -> ModelConfig:
    wide = width * 8 // 3 // 64 * 64
    return FamilyConfig.parse({
        "family": "llama", "vocab_size": vocabulary, "hidden_size": width, "intermediate_size": wide,
        "num_layers": layers, "num_heads": heads, "num_kv_heads": heads, "max_position_embeddings": LENGTH,
        "tie_word_embeddings": True,
    })  # fmt: skip


def objective(rows: int, vocabulary: int) -> NextToken:
    documents = torch.randint(1, vocabulary, (rows, LENGTH - 1), generator=torch.Generator().manual_seed(0)).tolist()
    return NextToken({"train": pack_documents(documents, 0, LENGTH)}, torch.ones(vocabulary, dtype=torch.int64), 0)


def ours(config: ModelConfig, rows: int, parts: int, steps: int, compiled: bool) -> float:
    """Tokens per second after the first steps."""
    times: list[float] = []
    log = EventLog(listeners=(lambda event: times.append(time.perf_counter()) if event["event"] == "step" else None,))
    settings = TrainingConfig(steps=steps, batch_rows=rows * parts, accumulation=parts, log_every=1, compile=compiled,
                              checkpoint_seconds=1e9, layers_every=0)  # fmt: skip
    with tempfile.TemporaryDirectory() as work:
        train(DecoderLM(config), objective(rows * parts, config.vocab_size), settings, Path(work), log, 1)
    first = min(FIRST, steps - 2)
    return rows * parts * LENGTH * (steps - 1 - first) / (times[-1] - times[first])


def largest(config: ModelConfig) -> tuple[float, int]:
    """Tokens per second at the most rows that fit, halved until they do."""
    rows = 64
    while rows:
        try:
            return ours(config, rows, STEP_TOKENS // LENGTH // rows, STEPS, True), rows
        except torch.cuda.OutOfMemoryError:
            rows //= 2
            torch.cuda.empty_cache()
    raise SystemExit("not one row fits")


def plainly(rows: int, parts: int) -> float:
    """The plain GPT of 124M: bfloat16 autocast, compiled, fused AdamW; tokens per second after the first steps."""
    cpu.LENGTH, cpu.VOCABULARY, cpu.WIDTH, cpu.LAYERS, cpu.HEADS = LENGTH, VOCABULARY, 768, 12, 12
    model: Any = torch.compile(cpu.PlainGPT().cuda())
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    tokens = torch.randint(0, VOCABULARY, (rows, LENGTH), device="cuda")
    times = []
    with torch.device("cuda"):
        for _ in range(STEPS):
            for _ in range(parts):
                with torch.autocast("cuda", torch.bfloat16):
                    loss = model(tokens, tokens)
                (loss / parts).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            torch.cuda.synchronize()
            times.append(time.perf_counter())
    return rows * parts * LENGTH * (STEPS - 1 - FIRST) / (times[-1] - times[FIRST])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--quick", action="store_true", help="a tiny model, to see that it runs")
    options = parser.parse_args()
    if options.quick:
        finish("train_gpu", {"quick": True, "tokens_per_second": ours(shape(64, 2, 2, 256), 2, 2, 4, False)})
        return
    if not torch.cuda.is_available():
        finish("train_gpu", {"measured": False, "why": "no GPU here"})
        return
    peak, kind = ceiling(torch.device("cuda"), torch.bfloat16)
    table: dict[str, Any] = {}
    for size in options.sizes:
        config = shape(*SIZES[size])
        rate, rows = largest(config)
        share = rate * 3 * forward_flops(config, LENGTH) / peak
        table[size] = {"parameters": DecoderLM(config, seed=None).num_parameters(), "rows": rows,
                       "tokens_per_second": rate, "mfu": share}  # fmt: skip
        print(f"  {size:<5} {rows:3} rows {rate:12,.0f} tokens/s  {share:.1%} {kind}", flush=True)
        if size == "124M":
            table["plain 124M"] = {"tokens_per_second": plainly(rows, STEP_TOKENS // LENGTH // rows)}
            print(f"  plain 124M    {table['plain 124M']['tokens_per_second']:12,.0f} tokens/s", flush=True)
    finish("train_gpu", {"gpu": torch.cuda.get_device_name(), "peak_flops": peak, "kind": kind, "sizes": table})


if __name__ == "__main__":
    main()
