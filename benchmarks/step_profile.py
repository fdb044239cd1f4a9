"""Where the time of a training step goes, by operator: models 128, 256 and 512 wide, in float32 and in bfloat16.

    python benchmarks/step_profile.py [--steps 5] [--optimizer adamw]

Qwen3's block as `tutelage pretrain` trains it (6 layers, 4,096 tokens of vocabulary, own head, 16 rows of 256 tokens,
Muon for the matrices of the blocks unless said otherwise), on random tokens in documents of 64. Milliseconds of a step
that the profiler counts for each operator itself, threads' waiting included, largest first; the whole step is measured
without it.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from typing import Any

import tutelage  # noqa: F401  first: it sets what torch's libraries read when they are loaded

# isort: split
import torch
from common import finish, gemm_rate
from torch.profiler import ProfilerActivity, profile

from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.describe import forward_flops
from tutelage.store.device import keep_freed_memory, set_threads
from tutelage.training.config import TrainingConfig
from tutelage.training.data.batch import Batch
from tutelage.training.objective import summed_nll
from tutelage.training.optim.optimizers import make_optimizers

LENGTH, ROWS, VOCABULARY, LAYERS, DOCUMENT = 256, 16, 4096, 6, 64
SHOWN = 14
# Operators that are one thing to a reader.
NAMES = {
    "aten::mm": "products", "aten::addmm": "products", "aten::addmm_": "products",
    "aten::bmm": "batched products (attention, Muon)", "aten::baddbmm": "batched products (attention, Muon)",
    "aten::_softmax": "softmax (attention, loss)", "aten::_softmax_backward_data": "softmax, backward (attention)",
    "aten::copy_": "casts and copies", "aten::_to_copy": "casts and copies", "aten::clone": "casts and copies",
    "aten::mul": "multiplications", "aten::mul_": "multiplications",
    "aten::add": "additions", "aten::add_": "additions",
    "aten::silu": "SiLU, both ways", "aten::silu_backward": "SiLU, both ways",
    "aten::_fused_adamw_": "AdamW", "aten::_foreach_mul_": "Muon: lists", "aten::_foreach_lerp_": "Muon: lists",
    "aten::_foreach_lerp": "Muon: lists", "aten::zero_": "zeros", "aten::fill_": "zeros",
}  # fmt: skip


class Step:
    """A model, a batch and the optimizers, ready to take steps."""

    def __init__(self, width: int, precision: torch.dtype, optimizer: str = "muon") -> None:
        self.config = ModelConfig(
            vocab_size=VOCABULARY, hidden_size=width, num_layers=LAYERS, num_heads=width // 32,
            num_kv_heads=width // 64, intermediate_size=width * 11 // 4, max_position_embeddings=LENGTH,
        )  # fmt: skip
        self.model, self.precision = DecoderLM(self.config, seed=0).train(), precision
        tokens = torch.randint(0, VOCABULARY, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0))
        place = torch.arange(LENGTH).expand(ROWS, LENGTH)
        self.batch = Batch(tokens, place % DOCUMENT, place // DOCUMENT + 1, tokens, torch.ones(ROWS, LENGTH))
        self.optimizers = make_optimizers(self.model, TrainingConfig.parse({"optimizer": optimizer}), precision)

    def take(self) -> None:
        with torch.autocast("cpu", self.precision, enabled=self.precision != torch.float32):
            total, _, _ = summed_nll(self.model, self.batch)
        (total / self.batch.weights.sum()).backward()  # type: ignore[no-untyped-call]
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def measured(step: Step, steps: int) -> tuple[float, dict[str, float]]:
    """(milliseconds of a step, the least of several; of each operator under the profiler, mean)."""
    times = []
    for _ in range(2 + steps):
        begin = time.perf_counter()
        step.take()
        times.append(1000 * (time.perf_counter() - begin))
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(steps):
            step.take()
    spent: dict[str, float] = defaultdict(float)
    for event in profiler.key_averages():
        spent[NAMES.get(event.key, event.key.removeprefix("aten::"))] += event.self_cpu_time_total / 1000 / steps
    return min(times[2:]), dict(spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--widths", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--optimizer", default="muon", choices=["muon", "adamw"])
    options = parser.parse_args()
    set_threads(0)
    keep_freed_memory()
    columns: dict[str, dict[str, float]] = {}
    result: dict[str, Any] = {}
    for width in options.widths:
        for precision in (torch.float32, torch.bfloat16):
            step, name = Step(width, precision, options.optimizer), f"{width} {str(precision).removeprefix('torch.')}"
            whole, spent = measured(step, options.steps)
            flops = 3 * forward_flops(step.config, LENGTH) * ROWS * LENGTH
            share = flops / (whole / 1000) / gemm_rate(precision)
            columns[name] = spent
            result[name] = {"milliseconds": round(whole, 1), "tokens_per_second": round(1000 * ROWS * LENGTH / whole),
                            "gemm_share": round(share, 3)}  # fmt: skip
            print(f"  {name:<14} {whole:8.1f} ms  {result[name]['tokens_per_second']:7,} tokens/s  "
                  f"{share:.0%} of the rate of products", flush=True)  # fmt: skip
    total = {
        name: sum(spent.get(name, 0.0) for spent in columns.values()) for spent in columns.values() for name in spent
    }
    shown = sorted(total, key=lambda name: -total[name])[:SHOWN]
    print("\n| operator | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    for name in shown:
        print(f"| {name} | " + " | ".join(f"{spent.get(name, 0.0):.1f}" for spent in columns.values()) + " |")
    rest = [sum(spent.values()) - sum(spent.get(name, 0.0) for name in shown) for spent in columns.values()]
    print("| the rest | " + " | ".join(f"{value:.1f}" for value in rest) + " |")
    finish("step_profile", {"optimizer": options.optimizer, "steps": result, "operators": columns})


if __name__ == "__main__":
    main()
