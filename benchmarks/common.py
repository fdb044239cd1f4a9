"""What every benchmark shares: alternating rounds, the machine's ceiling, and the last line of JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import tutelage  # noqa: F401  first: it sets what torch's libraries read when they are loaded

# isort: split
import torch


def gemm_rate(dtype: torch.dtype = torch.float32, size: int = 1536, seconds: float = 0.5) -> float:
    """FLOP/s of a large square matrix product, the best of several."""
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    a @ b
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        a @ b
        best = max(best, 2 * size**3 / (time.perf_counter() - begin))
    return best


def alternate(runs: dict[str, Callable[[], float]], rounds: int, unmeasured: bool = True) -> dict[str, list[float]]:
    """Call each in turn, `rounds` times over (A B C A B C ...), first once `unmeasured`; its figures by name."""
    for run in runs.values() if unmeasured else ():
        run()
    figures: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            figures[name].append(run())
            print(f"  {name:<28} {figures[name][-1]:12,.1f}", flush=True)
    return figures


def summary(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "rounds": len(values)}


def finish(name: str, result: dict[str, Any]) -> None:
    """Print the last line: the result with the machine it is from."""
    packages = {}
    for package in ("tutelage", "torch", "transformers", "numpy"):
        try:
            packages[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    machine = {"processor": model, "cpus": os.cpu_count(), "threads": torch.get_num_threads(),
               "bfloat16_units": torch.cpu._is_avx512_bf16_supported(), "load": os.getloadavg(),
               "system": platform.platform()}  # fmt: skip
    print(json.dumps({"benchmark": name, **result, "packages": packages, "machine": machine}))
