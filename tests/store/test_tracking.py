"""Trackers get every figure once, under its stage, with the stage's own steps."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from tutelage.store.errors import ConfigError
from tutelage.store.events import EventLog
from tutelage.store.tracking import Tracker, scalars


@pytest.mark.parametrize("kind", ["trackio", "wandb"])
def test_a_tracker_is_begun_told_and_ended(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    calls: list[tuple[str, Any]] = []
    module = ModuleType(kind)
    module.init = lambda **given: calls.append(("init", given))  # type: ignore[attr-defined]
    module.log = lambda figures: calls.append(("log", figures))  # type: ignore[attr-defined]
    module.finish = lambda: calls.append(("finish", None))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, kind, module)
    log = EventLog(None, (Tracker(kind, "mine", {"seed": 1}),))
    log.emit("run_start", recipe="mine")
    log.for_stage("pretrain").emit("step", step=3, total=9, loss=2.5, tokens=100)
    log.for_stage("pretrain").emit("layers", step=3, grad_rms=[0.1, 0.2])
    log.for_stage("prefer").emit("validation", step=1, loss=0.5, name="x", ok=True)
    log.note("no figure")
    log.emit("run_end", recipe="mine", status="done")
    assert calls == [
        ("init", {"project": "tutelage", "name": "mine", "config": {"seed": 1}}),
        ("log", {"pretrain/loss": 2.5, "pretrain/tokens": 100.0, "pretrain/step": 3}),
        ("log", {"pretrain/blocks/0/grad_rms": 0.1, "pretrain/blocks/1/grad_rms": 0.2, "pretrain/step": 3}),
        ("log", {"prefer/validation_loss": 0.5, "prefer/step": 1}),
        ("finish", None),
    ]


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match="needs the package 'wandb'"):
        Tracker("wandb", "mine", {})
    with pytest.raises(ConfigError, match="trackio, wandb"):
        Tracker("mlflow", "mine", {})


def test_events_without_figures_have_none() -> None:
    assert scalars({"event": "note", "message": "x", "step": 3}) == {}
