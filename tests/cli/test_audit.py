"""`tutelage finetune METHOD FILE --audit`: what exactly would be trained, in colour, between marks, or as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from tutelage.cli.audit import audit
from tutelage.cli.main import main
from tutelage.inference.language_model import LanguageModel


@pytest.fixture
def model(lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lm.save(tmp_path / "model")
    rows = [{"prompt": f"Count {n}.", "response": f"It is {n}."} for n in range(30)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "model"


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


def test_it_shows_what_is_learned_and_trains_nothing(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("finetune", "instruct", "rows.jsonl", "--model", str(model), "--audit") == 0
    said = capsys.readouterr().out
    assert "27 to train on, 3 held out" in said and "every kept row is of this layout" in said
    assert "27 of 27 trained answers end with a trained stop token" in said
    assert "It is" in said.split("⟦")[1].split("⟧")[0] and "Count" in said.split("⟦")[0]
    assert not Path("runs").exists()


def test_json_holds_the_same(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("finetune", "instruct", "rows.jsonl", "--model", str(model), "--audit", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tokens"]["stopped_answers"] == 27 and found["split"] == {"train": 27, "heldout": 3}
    assert {"length", "duplicates", "repeated", "sample", "findings", "file"} <= set(found)


def test_a_terminal_gets_colour(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(force_terminal=True, color_system="standard", width=80)
    found = {
        "split": {"train": 1, "heldout": 0}, "findings": [], "sample": [{"title": "", "runs": [("Q ", 0), ("A", 1)]}],
        "duplicates": {"exact": 0, "near": 0, "heldout_like_training": 0, "examples": []},
    }  # fmt: skip
    audit(console, found, [])
    said = capsys.readouterr().out
    assert "\x1b[1;32mA\x1b[0m" in said and "⟦" not in said and "No problems found" in said


def test_without_a_file_there_is_nothing_to_audit(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("finetune", "instruct", "--audit") == 2
    assert "go with a file" in capsys.readouterr().err


FILES = {
    "multilabel": [{"text": f"text {n}", "labels": ["odd"] if n % 2 else ["even", "whole"]} for n in range(40)],
    "reward": [{"prompt": f"Count {n}.", "chosen": f"It is {n}.", "rejected": f"No {n} at all."} for n in range(30)],
    "reinforce": [{"prompt": f"Count {n}.", "answer": f"#### {n}"} for n in range(30)],
    "further": [{"text": f"Once there were {n} of them, and later {2 * n} more. " * 3} for n in range(30)],
}
SAID = {
    "multilabel": ("Labels    3, in training", "Sample, learned between marks"),
    "reward": ("Scored  ", "Sample (chosen), scored between marks"),
    "reinforce": ("Rewards   correct (rule numeric", "rewarded between marks"),
    "further": ("Windows  ", "Sample, learned between marks"),
}


@pytest.mark.parametrize("method", FILES)
def test_every_method_says_what_matters_for_it(method: str, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in FILES[method]))
    short = {"reinforce": ("--set", "max_tokens=16")}.get(method, ())
    wanted = ("finetune", method, "own.jsonl", "--model", str(model), *short, "--audit")
    assert call(*wanted) == 0
    said = capsys.readouterr().out
    assert all(part in said for part in SAID[method]), said
    assert call(*wanted, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {"split", "lines", "said", "sample", "findings"} <= set(found) and not Path("runs").exists()
    assert [line for _, lines in found["lines"] for line in lines if line in said]
