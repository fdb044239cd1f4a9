"""The precision of a run: chosen once, stored in its work directory, and reused after every resume."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from tutelage.store.device import Precision, auto_precision
from tutelage.store.errors import DamagedError
from tutelage.store.events import EventLog
from tutelage.store.files import write_json
from tutelage.training.distributed.world import World

FILE = "precision.json"  # in the work directory


def resolve_precision(
    asked: Precision, device: torch.device, work: Path, log: EventLog, world: World | None = None
) -> Precision:
    """Resolve `asked`; `auto` is the value in `work/precision.json`, else the result of `auto_precision`.

    A run keeps its precision when it resumes on another machine. Rank 0 decides for all. Raises DamagedError for a file
    without a valid precision.
    """
    if asked != "auto":
        return asked
    world = world or World()
    chosen = _read_or_decide(device, work / FILE, log) if world.first else "float32"
    return "bfloat16" if world.sums([float(chosen == "bfloat16")])[0] else "float32"


def _read_or_decide(device: torch.device, file: Path, log: EventLog) -> Precision:
    if file.exists():
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))["precision"]
        except (ValueError, KeyError, TypeError):
            kept = None
        if kept not in ("float32", "bfloat16"):
            raise DamagedError(f"{file} contains no valid precision", hint="remove the work directory to start again")
        log.note(f"precision auto: {kept}, as at the start of this run")
        return "bfloat16" if kept == "bfloat16" else "float32"
    chosen, why = auto_precision(device)
    write_json(file, {"precision": chosen, "why": why})
    log.note(f"precision auto: {chosen} ({why})")
    return chosen
