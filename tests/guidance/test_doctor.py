"""The doctor finds what is in the way, and its self-test fails where the core does not work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tutelage.guidance import doctor
from tutelage.guidance.doctor import examine, problems, self_test

CALM = {"memory_available_bytes": 8e9, "disk_free_bytes": 50e9, "load_per_cpu": 0.3}


def test_it_knows_the_machine_and_the_core_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUTELAGE_PRECISION", "float32")
    found = examine(tmp_path / "not" / "yet")
    assert found["precision"] == "float32" and found["versions"]["torch"] == torch.__version__
    assert found["gemm_gflops"]["float32"] > 0 and found["gemm_gflops"]["bfloat16"] > 0
    assert found["threads"] >= 1 and found["disk_free_bytes"] > 0 and found["memory_available_bytes"] > 0
    assert [check["passed"] for check in found["self_test"]] == [True] * 3
    assert not any("self-test" in problem for problem in found["problems"])


@pytest.mark.parametrize(
    ("fact", "value", "says"),
    [
        ("memory_available_bytes", 1e9, "1.0 GB of memory are free"),
        ("disk_free_bytes", 1e8, "0.1 GB are free on the disk"),
        ("load_per_cpu", 2.5, "2.5 runnable processes"),
    ],
)
def test_what_is_in_the_way_is_said(fact: str, value: float, says: str) -> None:
    assert problems(CALM) == []
    (problem,) = problems({**CALM, fact: value})
    assert says in problem


def test_weights_that_change_on_the_disk_fail_the_self_test(monkeypatch: pytest.MonkeyPatch) -> None:
    from tutelage.model import io

    real = io.load_model

    def damaged(path: Path, *more: Any) -> Any:
        model = real(path, *more)
        with torch.no_grad():
            next(model.parameters()).add_(1e-3)
        return model

    monkeypatch.setattr(io, "load_model", damaged)
    assert [check.passed for check in self_test()] == [True, False, True]


def test_a_model_that_does_not_learn_fails_the_self_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, closure=None: None)
    learned, kept, continued = self_test()
    assert not learned.passed and kept.passed and not continued.passed


def test_what_breaks_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("illegal\ninstruction")

    monkeypatch.setattr("tutelage.model.io.save_model", broken)
    assert doctor.self_test()[1] == doctor.Check("save", False, "RuntimeError: illegal instruction")
