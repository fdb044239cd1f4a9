"""Examine the machine: facts, speed, and a self-test of the core of the system, in ten seconds at most."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.guidance.machine import BUSY, ThisMachine, load
from tutelage.store.artifacts import packages
from tutelage.store.device import (
    auto_precision,
    available_memory,
    choose_device,
    machine,
    measure_gemm,
    memory_mb,
    set_threads,
)

LEAST_MEMORY, LEAST_DISK = 2e9, 2e9  # bytes; the quickstart takes about 1.5 GB of memory and 1 GB on the disk
STEPS, LEARNED = 30, 0.5  # of the self-test: steps, and maximum final loss relative to the first one
GENERATED = 12


@dataclass(frozen=True)
class Check:
    """A check of the self-test and its result."""

    name: str
    passed: bool
    said: str


def examine(root: Path) -> dict[str, Any]:
    """Facts, speed, self-test and problems, as plain data. `root`: of the store, for free disk space."""
    import torch

    busy = load()
    threads = set_threads(0)
    device = choose_device()
    precision, why = auto_precision(device)
    rates = {
        name: round(measure_gemm(0.4, device=device, dtype=dtype) / 1e9, 1)
        for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16))
    }
    facts = {
        **{name: machine()[name] for name in ("system", "processor", "gpu", "memory_gb")},
        "cpus": os.cpu_count(),
        "cpus_usable": len(os.sched_getaffinity(0)),
        "threads": threads,
        "load_per_cpu": round(busy, 2),
        "memory_available_bytes": round(available_memory()),
        "disk_free_bytes": shutil.disk_usage(_existing(root)).free,
        "disk_bytes_per_second": round(ThisMachine().bytes_per_second()),
        "device": str(device),
        "precision": precision,
        "precision_why": why,
        "gemm_gflops": rates,
        "process_memory_mb": memory_mb(),
        "versions": {"python": platform.python_version(), **packages()},
    }
    checks = self_test()
    return {
        **facts,
        "self_test": [{"name": one.name, "passed": one.passed, "said": one.said} for one in checks],
        "problems": problems(facts) + [f"self-test: {one.name} failed: {one.said}" for one in checks if not one.passed],
    }


def problems(facts: dict[str, Any]) -> list[str]:
    """Problems that would affect a run, as sentences with advice."""
    found = []
    if facts["memory_available_bytes"] < LEAST_MEMORY:
        found.append(
            f"{facts['memory_available_bytes'] / 1e9:.1f} GB of memory are free; the quickstart requires about 1.5 GB: "
            "close other programs"
        )
    if facts["disk_free_bytes"] < LEAST_DISK:
        found.append(
            f"{facts['disk_free_bytes'] / 1e9:.1f} GB are free on the disk; runs require 1 GB or more: free some "
            "space, or choose another folder with --out"
        )
    if facts["load_per_cpu"] > BUSY:
        found.append(
            f"{facts['load_per_cpu']:.1f} runnable processes per CPU: a run takes longer than on an idle machine"
        )
    return found


def self_test() -> list[Check]:
    """Train a tiny model on a sequence, save and load it, and let it continue the sequence. Float32, fixed seed."""
    set_threads(1)  # a model this small is slower with more
    try:
        with tempfile.TemporaryDirectory() as folder:
            return _checked(Path(folder))
    finally:
        set_threads(0)


def _checked(folder: Path) -> list[Check]:
    import torch

    from tutelage.inference.decoding import generate_ids
    from tutelage.inference.sampling import Sampling
    from tutelage.model.config import ModelConfig
    from tutelage.model.decoder import DecoderLM
    from tutelage.model.io import load_model, save_model
    from tutelage.training.config import TrainingConfig
    from tutelage.training.optim.optimizers import make_optimizers

    config = ModelConfig(vocab_size=32, hidden_size=32, intermediate_size=64, num_layers=2, num_heads=4, num_kv_heads=2,
                         max_position_embeddings=64)  # fmt: skip
    model = DecoderLM(config, seed=0)
    ids = torch.arange(64)[None] % 8
    losses: list[float] = []

    def learn() -> Check:
        (optimizer,) = make_optimizers(model, TrainingConfig(precision="float32"))
        for _ in range(STEPS):
            loss = torch.nn.functional.cross_entropy(model(ids[:, :-1])[0], ids[0, 1:])
            loss.backward()  # type: ignore[no-untyped-call]
            for group in optimizer.param_groups:
                group["lr"] = 0.01
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss.item())
            if losses[-1] < LEARNED * losses[0] / 4:
                break
        said = f"loss {losses[0]:.2f} before, {losses[-1]:.2f} after {len(losses)} steps"
        return Check("training a model", losses[-1] < LEARNED * losses[0], said)

    def keep() -> Check:
        save_model(model.eval(), folder)
        with torch.no_grad():
            apart = float((load_model(folder)(ids) - model(ids)).abs().max())
        return Check("saving and loading", apart == 0, f"logits differ by at most {apart:g}")

    def write() -> Check:
        sampling = Sampling(max_tokens=GENERATED, temperature=0.0)
        made = generate_ids(model.eval(), [ids[0, :16].tolist()], sampling, [])[0].ids
        right = sum(token == (16 + at) % 8 for at, token in enumerate(made))
        return Check("continuing a sequence", right == GENERATED, f"{right} of {GENERATED} tokens are right")

    return [_attempt(name, one) for name, one in (("learn", learn), ("save", keep), ("generate", write))]


def _attempt(name: str, check: Callable[[], Check]) -> Check:
    begin = time.perf_counter()
    try:
        made = check()
    except Exception as error:  # the self-test reports any error
        return Check(name, False, " ".join(f"{type(error).__name__}: {error}".split()))
    return Check(made.name, made.passed, f"{made.said} ({time.perf_counter() - begin:.1f} s)")


def _existing(path: Path) -> Path:
    """The path itself or its nearest existing parent."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
