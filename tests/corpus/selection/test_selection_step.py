"""Selection within the corpus stage: what was planted goes, every removal is counted, the same bytes come out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from planted_text import TOPICS, good, junk, off_topic

from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.document import Document, read_documents
from tutelage.corpus.selection.evidence import evidence_identity, imported_scores
from tutelage.corpus.shelf import Shelf
from tutelage.corpus.stage import build_corpus
from tutelage.store.errors import ConfigError, InputError
from tutelage.store.events import EventLog


def write_rows(path: Path, texts: list[str], kind: str = "") -> None:
    rows = (json.dumps({"text": text, "label": kind}) for text in texts)
    path.write_text("\n".join(rows), encoding="utf-8")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """210 good texts, 45 of junk, 45 of another kind; examples of good text, and a sample of the target."""
    root = tmp_path_factory.mktemp("planted")
    (root / "mix").mkdir()
    kept = [text for topic in TOPICS for text in good(topic, 53, 1)][:210]
    write_rows(root / "mix" / "good.jsonl", kept, "good")
    write_rows(root / "mix" / "junk.jsonl", junk(45, 1), "junk")
    write_rows(root / "mix" / "other.jsonl", off_topic(45, 1), "other")
    write_rows(root / "examples.jsonl", [text for topic in TOPICS for text in good(topic, 30, 2)])
    write_rows(root / "sea.jsonl", good("sea", 40, 3))
    return root


def build(root: Path, out: Path, workers: int = 1, log: EventLog | None = None, **select: Any) -> dict[str, Any]:
    # The sentences are made of few words: near duplicates are looked for among real ones.
    config = CorpusConfig.parse(
        {"source": str(root / "mix"), "prose": False, "near_duplicate_threshold": 1.0, "max_overlap": 1.0,
         "measure_selection": False, "select": {"clusters": 8, **select}}
    )  # fmt: skip
    build_corpus(config, out, log or EventLog(), seed=1, workers=workers)
    card: dict[str, Any] = json.loads((out / "card.json").read_text(encoding="utf-8"))
    return card


def labels(out: Path) -> list[str | None]:
    sides = (read_documents(out / f"{side}.parquet") for side in ("train", "heldout"))
    return [document.label for side in sides for document in side]


def test_good_text_is_recovered_and_all_else_is_counted(planted: Path, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    log = EventLog(listeners=(events.append,))
    card = build(planted, tmp_path / "a", log=log, good=str(planted / "examples.jsonl"), keep=0.7)
    found = labels(tmp_path / "a")
    assert found.count("good") / len(found) > 0.97
    assert found.count("good") / 210 > 0.9
    step = next(step for step in card["steps"] if step["name"] == "selection")
    assert sum(step["removed"].values()) == step["documents_in"] - step["documents_out"]
    assert set(step["removed"]) <= {"lower quality", "its topic has enough"}
    said = [str(event["message"]) for event in events if event["event"] in ("note", "warning")]
    assert any(f"{len(found)} of 300 documents stay" in line for line in said)
    assert not any("removed as" in line for line in said)  # the budget was asked for
    account = card["select"]
    assert account["bytes"] <= account["budget_bytes"]
    assert account["weights"] == {"quality": 0.6667, "diversity": 0.3333}
    assert [row["by"] for row in account["trade_off"]] == ["as set", "diversity alone", "quality alone", "everything"]
    rows = {row["by"]: row for row in account["trade_off"]}
    assert rows["quality alone"]["quality"] > rows["everything"]["quality"] + 0.1
    assert rows["diversity alone"]["effective_topics"] > rows["quality alone"]["effective_topics"]
    page = (tmp_path / "a" / "card.md").read_text(encoding="utf-8")
    assert "## Selection" in page and "on rows not seen" in page


@pytest.mark.slow
def test_the_same_bytes_whatever_the_workers(planted: Path, tmp_path: Path) -> None:
    given = {"good": str(planted / "examples.jsonl"), "target": str(planted / "sea.jsonl")}
    for workers in (1, 2):
        build(planted, tmp_path / str(workers), workers, **given)
    for name in ("train.parquet", "heldout.parquet", "card.json", "card.md"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name


def test_a_target_draws_its_topic(planted: Path, tmp_path: Path) -> None:
    card = build(planted, tmp_path / "a", target=str(planted / "sea.jsonl"), tokens=4000, diversity=0.0)
    texts = [document.text for document in read_documents(tmp_path / "a" / "train.parquet")]
    assert all(any(word in text for word in ("harbour", "ship", "anchor", "tide", "sailor")) for text in texts)
    assert 0 < card["bytes"] <= 4 * 4000
    assert abs(card["select"]["relevance"]["correlation_with_length"]) < 0.3


def test_a_target_that_says_nothing_is_refused(planted: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "few.jsonl", [*good("sea", 9, 3), *good("sea", 9, 3)])
    with pytest.raises(InputError, match="holds 9 different texts"):
        build(planted, tmp_path / "a", target=str(tmp_path / "few.jsonl"))
    usual = [*(text for topic in TOPICS for text in good(topic, 7, 4)), *junk(6, 4), *off_topic(6, 4)]
    write_rows(tmp_path / "usual.jsonl", usual[::2] + usual[1::2])
    with pytest.raises(InputError, match="do not say what is relevant"):
        build(planted, tmp_path / "a", target=str(tmp_path / "usual.jsonl"))


def test_what_the_judge_of_quality_is_worth_is_said_as_it_is(planted: Path, tmp_path: Path) -> None:
    """Where seven tenths of the corpus are good, a perfect judge has an area of 0.65, which is no reason to warn."""
    events: list[dict[str, Any]] = []
    log = EventLog(listeners=(events.append,))
    card = build(planted, tmp_path / "a", log=log, good=str(planted / "examples.jsonl"))
    auc = card["select"]["quality"]["auc"]
    assert 0.5 < auc["low"] < auc["high"] < 0.75
    assert not any("told from the rest" in str(event.get("message")) for event in events)
    assert f"at least {2 * auc['value'] - 1:.0%} [" in (tmp_path / "a" / "card.md").read_text(encoding="utf-8")
    usual = [*(text for topic in TOPICS for text in good(topic, 35, 4)), *junk(30, 4), *off_topic(30, 4)]
    write_rows(tmp_path / "usual.jsonl", usual)
    build(planted, tmp_path / "b", log=log, good=str(tmp_path / "usual.jsonl"))
    (warned,) = [str(event["message"]) for event in events if "told from the rest" in str(event.get("message"))]
    assert "0.5 is chance" in warned and "corpus.select.quality=0" in warned


def test_scores_of_a_table_are_quality(planted: Path, tmp_path: Path) -> None:
    texts = [json.loads(line) for file in (planted / "mix").iterdir() for line in file.read_text().splitlines()]
    table = {"text": [one["text"] for one in texts], "score": [float(one["label"] == "other") for one in texts]}
    pq.write_table(pa.table(table), tmp_path / "scores.parquet")
    build(planted, tmp_path / "a", scores=str(tmp_path / "scores.parquet"), keep=0.05, diversity=0.0)
    assert set(labels(tmp_path / "a")) == {"other"}
    documents = Shelf.of([Document(f"{number:016x}", one["text"], "file") for number, one in enumerate(texts)])
    ids = [f"{number:016x}" for number in range(299)]
    known = [*map(float, range(298)), float("nan")]
    pq.write_table(pa.table({"id": ids, "score": known}), tmp_path / "ids.parquet")
    scores, missing = imported_scores(str(tmp_path / "ids.parquet"), documents)
    assert missing == 2 and scores.tolist() == [*range(298), 148.5, 148.5]
    pq.write_table(pa.table({"id": ["x"], "score": [1.0]}), tmp_path / "few.parquet")
    with pytest.raises(InputError, match="knows 0 of 300 documents by their id"):
        imported_scores(str(tmp_path / "few.parquet"), documents)
    pq.write_table(pa.table({"name": ["x"], "mark": [1.0]}), tmp_path / "none.parquet")
    with pytest.raises(InputError, match="has the columns name, mark"):
        imported_scores(str(tmp_path / "none.parquet"), documents)


def test_a_least_probability_goes_before_the_budget(planted: Path, tmp_path: Path) -> None:
    given = {"good": str(planted / "examples.jsonl"), "keep": 1.0, "diversity": 0.0}
    card = build(planted, tmp_path / "a", min_quality=0.2, **given)
    step = next(step for step in card["steps"] if step["name"] == "selection")
    assert set(step["removed"]) == {"low quality"}
    assert 60 < step["removed"]["low quality"] < 120
    with pytest.raises(InputError, match=r"min_quality=0\.999"):
        build(planted, tmp_path / "b", min_quality=0.999, **given)


def test_what_cannot_be_is_said_before_anything_runs(planted: Path, tmp_path: Path) -> None:
    for settings, said in (
        ({"good": "a", "scores": "b"}, "good and scores"),
        ({"diversity": 0}, "nothing to select by"),
        ({"target": "a", "min_quality": 0.5}, "needs examples"),
        ({"target": "a", "relevance": 0, "diversity": 0}, "all weights are 0"),
    ):
        with pytest.raises(ConfigError, match=said):
            CorpusConfig.parse({"select": settings})
    config = CorpusConfig.parse({"select": {"good": str(tmp_path / "none.txt")}})
    assert config.select
    with pytest.raises(ConfigError, match=r"corpus\.select\.good: there is no file or folder"):
        evidence_identity(config.select)
    with pytest.raises(InputError, match="holds no document"):
        build(planted, tmp_path / "a", target=str(planted / "sea.jsonl"), tokens=1, diversity=0.0)


def test_the_evidence_counts_by_content(planted: Path) -> None:
    first = CorpusConfig.parse({"select": {"good": str(planted / "examples.jsonl")}}).select
    second = CorpusConfig.parse({"select": {"good": str(planted / "sea.jsonl")}}).select
    assert first and second
    assert evidence_identity(first) != evidence_identity(second)


def test_examples_like_nothing_in_the_corpus_are_warned_of(planted: Path, tmp_path: Path) -> None:
    """A target in another script is told from every document, which makes its ranking look perfect."""
    signs = "今天我们去海边看船大浪来了岛上有灯塔水手很高兴"
    texts = [f"{signs[at % 9 :]}{signs[: 3 + at % 7]}。" for at in range(40)]
    write_rows(tmp_path / "other.jsonl", texts)
    for target, warned in ((tmp_path / "other.jsonl", True), (planted / "sea.jsonl", False)):
        events: list[dict[str, Any]] = []
        log = EventLog(listeners=(events.append,))
        build(planted, tmp_path / target.stem, log=log, target=str(target), keep=0.2)
        said = [one["message"] for one in events if one["event"] == "warning"]
        assert any("hardly any document of the corpus is like them" in one for one in said) is warned


def test_a_budget_that_long_documents_leave_unused_is_said(planted: Path, tmp_path: Path) -> None:
    root = tmp_path / "long"
    (root / "mix").mkdir(parents=True)
    write_rows(root / "mix" / "all.jsonl", [*good("sea", 20, 1), " ".join(good("sea", 400, 5))])
    events: list[dict[str, Any]] = []
    build(root, tmp_path / "out", log=EventLog(listeners=(events.append,)), keep=0.5)
    assert any("of the budget" in one["message"] for one in events if one["event"] == "warning")
