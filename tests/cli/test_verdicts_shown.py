"""What the command line says in the end: whether a model learned anything, the alarm, loops."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from tutelage.cli.verdicts import endings, glance, learned


def figure(measure: str, rows: dict[str, float], higher: bool = True) -> dict[str, Any]:
    kinds = {"the references": "reference"}
    listed = [{"who": who, "value": value, "low": value, "high": value, "n": 40, "kind": kinds.get(who, "model")}
              for who, value in rows.items()]  # fmt: skip
    return {"task": "t", "measure": measure, "unit": "share", "higher_is_better": higher, "rows": listed, "note": ""}


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """A run folder with a tuned model that is over-optimised and loops."""
    parts = {
        "base": ("adopt", "language model"),
        "better": ("prefer", "chat model"),
        "evaluate": ("evaluate", "figures"),
    }
    for name in parts:
        (tmp_path / name).mkdir()
    alarm = "better: 88.8 % pass the rule, of the references 54.0 %"
    evaluation = {
        "confidence": 0.95,
        "figures": [
            figure("rule passed", {"base": 0.5, "better": 0.888, "the references": 0.54}),
            figure("ends by itself", {"base": 1.0, "better": 0.7, "the references": 0.9}),
            figure("loops", {"base": 0.0, "better": 0.25, "the references": 0.0}, higher=False),
        ],
        "comparisons": [
            {"a": "better", "b": "base", "measure": "rule passed", "difference": 38.8, "outcome": "better",
             "caution": alarm, "verdict": "better is better"}
        ],
        "learned": [
            {"who": "better", "before": "base", "found": "learned", "text": "better learned something", "alarm": alarm},
            {"who": "same", "before": "base", "found": "no difference", "text": "same learned nothing", "alarm": ""},
        ],
        "alarms": [{"who": "better", "text": alarm}],
    }  # fmt: skip
    (tmp_path / "evaluate" / "evaluation.json").write_text(json.dumps(evaluation))
    (tmp_path / "recipe.yaml").write_text("finetune: {better: {method: prefer, from: base}}\n")
    stages = [{"stage": name, "kind": kind, "makes": makes, "status": "ran", "artifact": name, "metrics": {}}
              for name, (kind, makes) in parts.items()]  # fmt: skip
    record = {"recipe": "tiny", "status": "done", "stages": stages}
    (tmp_path / "run.json").write_text(json.dumps(record))
    return SimpleNamespace(path=tmp_path, record=record)


def said(show: Any, *arguments: Any, **more: Any) -> str:
    console = Console(width=160, record=True, file=StringIO())
    show(console, *arguments, **more)
    return console.export_text()


def test_what_was_learned_comes_with_its_alarm(run: Any) -> None:
    lines = said(learned, run).splitlines()
    assert lines[0] == "! Better learned something."
    assert lines[1].strip() == "warning better: 88.8 % pass the rule, of the references 54.0 %."
    assert lines[2] == "= Same learned nothing."


def test_a_rule_won_by_over_optimising_is_not_called_better(run: Any) -> None:
    row = next(line for line in said(glance, run).splitlines() if "pass the rule" in line)
    assert "better by over-optimising" in row


def test_loops_and_endless_answers_stand_beside_the_model_before_and_the_references(run: Any) -> None:
    text = said(endings, run, ["base", "better"])
    assert "Do the answers of better end?" in text and "Do the answers of base end?" not in text
    row = next(line for line in text.splitlines() if "│ better" in line)
    assert "25.0 %" in row and "30.0 %" in row
    assert "the references" in text and "10.0 %" in text
