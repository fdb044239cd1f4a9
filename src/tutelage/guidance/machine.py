"""The speed of this machine for forecasts, measured with the actual model in about a second each.

Measurements are cached in the process, and under the store's root for the next command. On a busy machine they are
always repeated and never cached, since they say little about another hour.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from tutelage.store.files import write_json
from tutelage.store.hashing import canonical_json, sha256_json

FILE = "rates.json"  # in the store's work directory
BUSY = 1.0  # runnable processes per CPU; above this, the machine is busy
KEPT_SECONDS = 7 * 86400.0
# The settings that the cost of a step depends on.
MATTER = ("batch_rows", "accumulation", "optimizer", "freeze_blocks", "precision", "device", "threads",
          "activation_checkpointing")  # fmt: skip
_WORDS = re.compile(r"\w+")
REFERENCE_SECONDS = 0.014  # of the text work in `slowness`, on the machine on which constants were measured
TEXT_SECONDS = 0.3  # of repetition: long enough to include interruptions by other processes


def load() -> float:
    """Runnable processes per CPU, over the last minute; 0 if unknown."""
    try:
        return os.getloadavg()[0] / max(1, len(os.sched_getaffinity(0)))
    except OSError:
        return 0.0


class ThisMachine:
    """Implements `store.stage.Machine`. `root`: of the store, where rates are cached; None: only in this process."""

    def __init__(self, root: Path | None = None) -> None:
        self.file = None if root is None else root / "work" / FILE

    def training_seconds_per_token(
        self, model: Any, context: int, settings: Any, trained_share: float = 1.0, lora: Any = None
    ) -> float:
        return self._training(model, context, settings, trained_share, lora)["seconds"]

    def training_memory(
        self, model: Any, context: int, settings: Any, trained_share: float = 1.0, lora: Any = None
    ) -> float:
        return self._training(model, context, settings, trained_share, lora)["memory"]

    def _training(
        self, model: Any, context: int, settings: Any, trained_share: float, lora: Any
    ) -> dict[str, float]:  # fmt: skip
        what = {
            "training": model.plain(), "context": context, "trained_share": round(trained_share, 1),
            "lora": lora.plain() if lora else None, **{name: settings.plain()[name] for name in MATTER},
        }  # fmt: skip

        def measure() -> dict[str, float]:
            from tutelage.guidance.probe import training_cost

            cost = training_cost(model, context, settings, trained_share, lora)
            return {"seconds": cost.seconds, "memory": cost.memory}

        return self._known(what, measure)

    def scoring_seconds_per_token(self, model: Any) -> float:
        def measure() -> dict[str, float]:
            from tutelage.guidance.probe import scoring_cost

            return {"seconds": scoring_cost(model).seconds}

        return self._known({"scoring": model.plain()}, measure)["seconds"]

    def decoding_seconds_per_token(self, model: Any) -> float:
        def measure() -> dict[str, float]:
            from tutelage.guidance.probe import decoding_cost

            return {"seconds": decoding_cost(model).seconds}

        return self._known({"decoding": model.plain()}, measure)["seconds"]

    def bytes_per_second(self) -> float:
        return _disk()

    def slowness(self) -> float:
        return _slowness()

    def process_memory(self) -> float:
        from tutelage.guidance.footprint import ready_process

        return ready_process()

    def _known(self, what: dict[str, Any], measure: Callable[[], dict[str, float]]) -> dict[str, float]:
        """A measurement from this process, from the file, or made now; on a busy machine at most once per process."""
        key = sha256_json([what, _here()])
        if key in _MEASURED:
            return _MEASURED[key]
        calm = load() <= BUSY
        if calm and (kept := self._kept().get(key)):
            found = {name: float(value) for name, value in kept.items()}
        else:
            found = measure()
            if calm:
                self._keep(key, found)
        _MEASURED[key] = found
        return found

    def _kept(self) -> dict[str, Any]:
        try:
            assert self.file is not None
            kept = json.loads(self.file.read_text(encoding="utf-8"))
            return {key: one for key, one in kept.items() if time.time() - one["time"] < KEPT_SECONDS}
        except (AssertionError, OSError, ValueError, AttributeError, KeyError, TypeError):
            return {}  # none, or damaged: measured again

    def _keep(self, key: str, found: dict[str, float]) -> None:
        if self.file is None or not self.file.parent.parent.is_dir():
            return  # a plan does not create a folder of runs
        with contextlib.suppress(OSError):  # nor does it need disk space
            self.file.parent.mkdir(exist_ok=True)
            write_json(self.file, {**self._kept(), key: {**found, "time": round(time.time())}})


class Idle:
    """A machine on which everything takes no time, for forecasts without times."""

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


_MEASURED: dict[str, dict[str, float]] = {}


@cache
def _here() -> str:
    """What speeds depend on besides the model: processor, CPUs, GPU, torch, and the meaning of `auto` precision."""
    from tutelage.store.device import PRECISION_VARIABLE, machine

    facts = machine()
    named = {name: facts[name] for name in ("processor", "gpu", "torch")}
    return canonical_json([named, len(os.sched_getaffinity(0)), os.environ.get(PRECISION_VARIABLE, "")])


@cache
def _slowness() -> float:
    text = "The quick brown fox jumps over 13 lazy dogs, and nobody knows why. " * 3000
    begin, times = time.perf_counter(), 0
    while time.perf_counter() - begin < TEXT_SECONDS:
        words = [word.lower() for word in _WORDS.findall(text)]
        len({" ".join(words[at : at + 5]) for at in range(len(words) - 5)})
        times += 1
    return (time.perf_counter() - begin) / times / REFERENCE_SECONDS


USUAL_DISK = 5e8  # bytes per second, if it cannot be measured


@cache
def _disk() -> float:
    data = bytes(8_000_000)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "measured"
            begin = time.perf_counter()
            path.write_bytes(data)
            path.read_bytes()
            return min(2e9, 2 * len(data) / (time.perf_counter() - begin))
    except OSError:  # no temporary folder, or a full one: a forecast must not stop a run
        return USUAL_DISK
