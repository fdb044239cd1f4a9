"""The precision of a run: decided once, kept in its work directory, the same after every resume."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import time
from pathlib import Path
from typing import Literal

import torch

from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.store.device import PRECISION_VARIABLE, Precision, auto_precision
from tutelage.store.errors import DamagedError
from tutelage.store.events import EventLog
from tutelage.store.files import write_json
from tutelage.training.data.batch import Batch
from tutelage.training.distributed.world import World
from tutelage.training.objective import summed_nll

FILE = "precision.json"  # in the work directory


WIDE = 256  # from this hidden_size on nearly all time is spent in products, and their rates decide
FASTER = 1.05  # times; what a small model must gain in all
_TOKENS, _LENGTH, _REPEATS = 1024, 128, 4


def model_precision(
    config: ModelConfig, asked: Precision, device: torch.device
) -> tuple[Literal["float32", "bfloat16", "float8"], str]:
    """`asked`, or what `auto` means for training this model on this machine; and why.

    Where products are faster in bfloat16, a model so small that they are only a part of its step is tried in both.
    """
    if asked != "auto":
        return asked, "as asked for"
    chosen, why = auto_precision(device)
    if chosen == "float32" or device.type != "cpu" or config.hidden_size >= WIDE or os.environ.get(PRECISION_VARIABLE):
        return chosen, why
    gain = training_gain(_shape(config), str(device))
    return "bfloat16" if gain >= FASTER else "float32", f"this model trains {gain:.2g} times as fast in bfloat16 here"


def precision_dtype(name: Precision) -> torch.dtype:
    """Of autocast; around float8 products it is bfloat16. `auto` must have been decided."""
    assert name != "auto"
    return torch.float32 if name == "float32" else torch.bfloat16


def _shape(config: ModelConfig) -> str:
    """What of a model decides how long a step takes, heads of classes left out."""
    return json.dumps(config.with_(num_labels=0, labels=()).plain(), sort_keys=True)


@functools.cache
def training_gain(shape: str, device: str) -> float:
    """How many times as fast forward and backward are in bfloat16; taken in turns, the fastest of each counts."""
    config = ModelConfig.parse(json.loads(shape))
    with torch.random.fork_rng(devices=[]):
        model = DecoderLM(config, seed=0).to(device).train()
    length = min(_LENGTH, config.max_position_embeddings)
    tokens = torch.arange(_TOKENS // length * length, device=device).view(-1, length) % config.vocab_size
    place = torch.arange(length, device=device).expand(tokens.shape)
    batch = Batch(tokens, place, torch.ones_like(tokens), tokens, torch.ones(tokens.shape, device=device))
    took: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    for _ in range(1 + _REPEATS):
        for dtype, seconds in took.items():
            begin = time.perf_counter()
            autocast = contextlib.nullcontext() if dtype == torch.float32 else torch.autocast(device, dtype)
            with autocast:
                total, _, _ = summed_nll(model, batch)
            total.backward()  # type: ignore[no-untyped-call]
            model.zero_grad(set_to_none=True)
            seconds.append(time.perf_counter() - begin)
    return min(took[torch.float32][1:]) / min(took[torch.bfloat16][1:])


def resolve_precision(
    asked: Precision, config: ModelConfig, device: torch.device, work: Path, log: EventLog, world: World | None = None
) -> Precision:
    """`asked`, or what `auto` means for this run: as in `work/precision.json`, else as `model_precision` finds.

    Resumed elsewhere, or after another measurement, a run keeps its precision. The first rank decides for all. Raises
    DamagedError for a file that holds no precision.
    """
    if asked != "auto":
        return asked
    world = world or World()
    chosen = _read_or_decide(config, device, work / FILE, log) if world.first else "float32"
    return "bfloat16" if world.sums([float(chosen == "bfloat16")])[0] else "float32"


def _read_or_decide(config: ModelConfig, device: torch.device, file: Path, log: EventLog) -> Precision:
    if file.exists():
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))["precision"]
        except (ValueError, KeyError, TypeError):
            kept = None
        if kept not in ("float32", "bfloat16"):
            raise DamagedError(f"{file} holds no precision", hint="remove the work directory to start again")
        log.note(f"precision auto: {kept}, as this run began")
        return "bfloat16" if kept == "bfloat16" else "float32"
    chosen, why = model_precision(config, "auto", device)
    write_json(file, {"precision": chosen, "why": why})
    log.note(f"precision auto: {chosen} ({why})")
    return chosen
