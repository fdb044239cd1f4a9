"""Peak memory of the language-model loss, forward and backward: chunked cross-entropy against the plain one.

    python benchmarks/loss_memory.py [--quick]

4,096 positions, 256 wide, 50,304 tokens, float32. Each side runs in a process of its own; its peak resident memory is
counted from just before the loss, inputs excluded. First it is checked that loss and gradients are the same.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

import tutelage  # noqa: F401  first: it sets what torch's libraries read when they are loaded

# isort: split
import torch
import torch.nn.functional as F
from common import finish

from tutelage.store.device import peak_memory_mb, reset_peak_memory
from tutelage.training.cross_entropy import linear_cross_entropy

POSITIONS, WIDTH, VOCABULARY = 4096, 256, 50304


def inputs(positions: int, vocabulary: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(positions, WIDTH, generator=generator, requires_grad=True)
    weight = (torch.randn(vocabulary, WIDTH, generator=generator) * 0.02).requires_grad_()
    return hidden, weight, torch.randint(0, vocabulary, (positions,), generator=generator)


def loss(side: str, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    if side == "plain":
        return F.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    return linear_cross_entropy(hidden, weight, targets)[0]


def measure(side: str, positions: int) -> dict[str, float]:
    """In this process: peak MiB above what is there before, and seconds of the second of two passes."""
    small = inputs(8, 64)
    loss(side, *small).backward()  # whatever is set up once
    tensors = inputs(positions, VOCABULARY)
    reset_peak_memory()
    before = peak_memory_mb()
    loss(side, *tensors).backward()
    peak = peak_memory_mb() - before
    begin = time.perf_counter()
    loss(side, *tensors).backward()
    return {"peak_mib": peak, "seconds": time.perf_counter() - begin}


def check() -> float:
    """Largest relative difference of loss and gradients between the two sides."""
    results = []
    for side in ("plain", "chunked"):
        tensors = inputs(64, 1000)
        value = loss(side, *tensors)
        value.backward()
        results.append([value.detach(), tensors[0].grad, tensors[1].grad])
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(*results, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one eighth of the positions")
    parser.add_argument("--side", choices=("plain", "chunked"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    positions = POSITIONS // 8 if options.quick else POSITIONS
    torch.set_num_threads(2)
    if options.side:
        print(json.dumps(measure(options.side, positions)))
        return
    difference = check()
    print(f"largest relative difference of loss and gradients: {difference:.1e}")
    assert difference < 1e-5
    figures = {}
    for side in ("plain", "chunked"):
        command = [sys.executable, __file__, "--side", side, *(["--quick"] if options.quick else [])]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        figures[side] = json.loads(done.stdout.splitlines()[-1])
        print(f"  {side:<10} {figures[side]['peak_mib']:8.0f} MiB  {figures[side]['seconds']:6.2f} s")
    gradients = 4 * (positions * WIDTH + VOCABULARY * WIDTH) / 2**20  # both sides end with them
    finish("loss_memory", {"sides": figures, "ratio": figures["plain"]["peak_mib"] / figures["chunked"]["peak_mib"],
                           "gradients_mib": gradients, "relative_difference": difference})  # fmt: skip


if __name__ == "__main__":
    main()
