"""This machine, as forecasts ask for it: rates measured on the very model that will run, for a second each."""

from __future__ import annotations

import re
import tempfile
import time
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from tutelage.store.hashing import canonical_json

SECONDS = 0.8  # that a rate is measured for, after a first step that warms up
MOST_TOKENS = 2048  # of a step that is only measured
# A batch of texts that grow token by token, against reading as many tokens at once: (below 30M parameters, above).
DECODING = (6.0, 3.0)
_WORDS = re.compile(r"\w+")
_REFERENCE_SECONDS = 0.060  # of the piece of text work in `slowness`, where the rooms' constants were measured


class ThisMachine:
    """Implements `store.stage.Machine`."""

    def training_seconds_per_token(
        self, model: Any, context: int, settings: Any, trained_share: float = 1.0, lora: Any = None
    ) -> float:
        return self._training(model, context, settings, trained_share, lora)[0]

    def training_memory(
        self, model: Any, context: int, settings: Any, trained_share: float = 1.0, lora: Any = None
    ) -> float:
        return self._training(model, context, settings, trained_share, lora)[1]

    def _training(
        self, model: Any, context: int, settings: Any, trained_share: float, lora: Any
    ) -> tuple[float, float]:
        key = canonical_json([model.plain(), context, settings.plain(), round(trained_share, 2),
                              lora.plain() if lora else None])  # fmt: skip
        return _trained(key, _Work(model, context, settings, trained_share, lora))

    def scoring_seconds_per_token(self, model: Any) -> float:
        return _scored(canonical_json(model.plain()), _Work(model, 0, None, 1.0, None))

    def decoding_seconds_per_token(self, model: Any) -> float:
        from tutelage.model.describe import parameters

        small, large = DECODING
        ratio = small if sum(parameters(model).values()) < 30e6 else large
        return ratio * self.scoring_seconds_per_token(model)

    def bytes_per_second(self) -> float:
        return _disk()

    def slowness(self) -> float:
        return _slowness()

    def process_memory(self) -> float:
        import tutelage.training.loop  # noqa: F401  what a training process has loaded
        from tutelage.store.device import memory_mb

        return float(memory_mb()) * 2**20


class Idle:
    """A machine on which everything is free: for stages whose time is not asked for."""

    def training_seconds_per_token(self, *_: Any) -> float:
        return 0.0

    def training_memory(self, *_: Any) -> float:
        return 0.0

    def scoring_seconds_per_token(self, *_: Any) -> float:
        return 0.0

    def decoding_seconds_per_token(self, *_: Any) -> float:
        return 0.0

    def bytes_per_second(self) -> float:
        return 1e12

    def slowness(self) -> float:
        return 0.0

    def process_memory(self) -> float:
        return 0.0


class _Work:
    """What is measured; equal to any other, so that the key beside it decides what is cached."""

    def __init__(self, model: Any, context: int, settings: Any, share: float, lora: Any) -> None:
        self.model, self.context, self.settings, self.share, self.lora = model, context, settings, share, lora

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Work)


@lru_cache(maxsize=64)
def _trained(key: str, work: _Work) -> tuple[float, float]:
    """(seconds, bytes beside the process) of training for each token, from real steps on random tokens."""
    import torch

    from tutelage.model.decoder import DecoderLM
    from tutelage.model.lora import add_lora
    from tutelage.store.device import (
        choose_device,
        choose_precision,
        memory_mb,
        peak_memory_mb,
        reset_peak_memory,
        set_threads,
    )
    from tutelage.training.data.batch import Batch
    from tutelage.training.objective import summed_nll
    from tutelage.training.optim.optimizers import freeze, make_optimizers

    settings, context = work.settings, work.context
    set_threads(settings.threads)
    device = choose_device(settings.device)
    dtype = choose_precision(settings.precision, device)
    before = memory_mb()
    reset_peak_memory()
    model = DecoderLM(work.model, seed=0)
    if work.lora:
        add_lora(model, work.lora, 0)
    freeze(model, settings.freeze_blocks)
    model.to(device).train()
    optimizers = make_optimizers(model, settings)
    whole = max(1, settings.batch_rows // settings.accumulation)
    rows = max(1, min(whole, MOST_TOKENS // context))
    tokens = torch.randint(0, work.model.vocab_size, (rows, context), generator=torch.Generator().manual_seed(0))
    positions = torch.arange(context).expand(rows, context).contiguous()
    weights = torch.rand(rows, context, generator=torch.Generator().manual_seed(1)) < max(work.share, 2 / context)
    batch = Batch(tokens, positions, torch.ones_like(tokens), tokens, weights.float()).to(device)
    computing: list[float] = []
    updating: list[float] = []
    end = float("inf")
    while len(computing) < 3 or time.perf_counter() < end:
        begin = time.perf_counter()
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            total, _, _ = summed_nll(model, batch)
        total.backward()  # type: ignore[no-untyped-call]
        between = time.perf_counter()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        computing.append(between - begin)
        updating.append(time.perf_counter() - between)
        end = time.perf_counter() + SECONDS if len(computing) == 1 else end
    seconds = sorted(computing[1:])[len(computing[1:]) // 2] / (rows * context)
    seconds += sorted(updating[1:])[len(updating[1:]) // 2] / (settings.batch_rows * context)
    peak = float(peak_memory_mb() - before) * 2**20
    return seconds, max(peak, 16.0 * sum(p.numel() for p in model.parameters())) * max(1.0, whole / rows) ** 0.5


@lru_cache(maxsize=64)
def _scored(key: str, work: _Work) -> float:
    """Seconds to read a token, from real forward passes."""
    import torch

    from tutelage.model.decoder import DecoderLM
    from tutelage.store.device import choose_device, set_threads

    set_threads(0)
    model = DecoderLM(work.model, seed=0).to(choose_device()).eval()
    context = min(128, work.model.max_position_embeddings)
    tokens = torch.randint(0, work.model.vocab_size, (8, context), device=next(model.parameters()).device)
    took: list[float] = []
    end = float("inf")
    with torch.no_grad():
        while len(took) < 2 or time.perf_counter() < end:
            begin = time.perf_counter()
            model(tokens)[0, 0, 0].item()
            took.append(time.perf_counter() - begin)
            end = time.perf_counter() + SECONDS / 2 if len(took) == 1 else end
    return sorted(took[1:])[len(took[1:]) // 2] / tokens.numel()


@cache
def _slowness() -> float:
    text = "The quick brown fox jumps over 13 lazy dogs, and nobody knows why. " * 3000
    took: list[float] = []
    for _ in range(3):
        begin = time.perf_counter()
        words = [word.lower() for word in _WORDS.findall(text)]
        len({" ".join(words[at : at + 5]) for at in range(len(words) - 5)})
        took.append(time.perf_counter() - begin)
    return min(took) / _REFERENCE_SECONDS


@cache
def _disk() -> float:
    data = bytes(8_000_000)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "measured"
        begin = time.perf_counter()
        path.write_bytes(data)
        path.read_bytes()
        return min(2e9, 2 * len(data) / (time.perf_counter() - begin))
