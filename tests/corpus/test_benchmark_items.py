"""Items of benchmarks in a corpus: found word for word and with a word changed, and not by turns of phrase."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tutelage.corpus.benchmark_items import Items, account, find_items, read_items, write_items
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.document import Document, read_documents
from tutelage.corpus.shelf import Shelf
from tutelage.corpus.stage import build_corpus
from tutelage.evaluation.bench.spec import BenchmarkItems, items_of
from tutelage.recipe.config import Recipe
from tutelage.recipe.graph import life
from tutelage.store.errors import ConfigError
from tutelage.store.events import EventLog

_CHANCE = random.Random(4)
WORDS = [f"{a}{b}" for a in ("bar", "mel", "tor", "sin", "lup") for b in ("an", "ek", "io", "und", "as", "ylo")]
FORM = "Which of the following statements about this subject is the most likely one to be true:"


def text(count: int) -> str:
    return " ".join(_CHANCE.choices(WORDS, k=count))


QUESTIONS = [f"{FORM} {text(12)}?" for _ in range(60)]
DOCUMENTS = [f"{text(60)}." for _ in range(80)]


def shelf(texts: list[str]) -> Shelf:
    return Shelf.of([Document(f"{at:016x}", one, "file") for at, one in enumerate(texts)])


def items(tmp_path: Path, rows: list[tuple[str, str, list[str]]]) -> Items:
    write_items(tmp_path / "items.jsonl", iter(rows))
    return read_items(tmp_path / "items.jsonl")


def test_items_are_found_as_they_are_and_nearly_as_they_are(tmp_path: Path) -> None:
    asked = items(tmp_path, [("quiz", str(at), [one, "yes"]) for at, one in enumerate(QUESTIONS)])
    changed = QUESTIONS[2].split()
    changed[-3] = "otherwise"
    texts = [*DOCUMENTS, f"Before it. {QUESTIONS[1].upper()} After it.", f"{text(9)} {' '.join(changed)}", QUESTIONS[1]]
    found = find_items(shelf(texts), asked, 0.5)
    pairs = dict(zip(zip(found.rows.tolist(), found.items.tolist(), strict=True), found.shares.tolist(), strict=True))
    assert set(pairs) == {(80, 1), (81, 2), (82, 1)}
    assert pairs[80, 1] == pairs[82, 1] == pytest.approx(1.0) and 0.5 < pairs[81, 2] < 0.9
    assert account(found, asked, 0.5, "mark")["tasks"] == {
        "quiz": {"items": 60, "found": 2, "documents": 3, "too_short": 0}
    }
    assert set(find_items(shelf(texts), asked, 0.95).rows.tolist()) == {80, 82}


def test_the_form_of_the_questions_is_no_find(tmp_path: Path) -> None:
    asked = items(tmp_path, [("quiz", str(at), [one]) for at, one in enumerate(QUESTIONS)])
    assert not len(find_items(shelf([*DOCUMENTS, FORM, f"{FORM} {text(30)}"]), asked, 0.2).rows)


def test_what_many_documents_say_weighs_little(tmp_path: Path) -> None:
    """Most 5-grams of the item are a common phrase; without weights it would be detected in every document."""
    common, rare = text(20), text(10)
    asked = items(tmp_path, [("quiz", "one", [f"{common} {rare}"])])
    texts = [f"{one} {common}" for one in DOCUMENTS]
    found = find_items(shelf([*texts, f"{text(20)} {rare}"]), asked, 0.4)
    assert found.rows.tolist() == [80]


def test_short_items_are_counted_and_not_looked_for(tmp_path: Path) -> None:
    asked = items(tmp_path, [("quiz", "short", ["barek toran melas", "no"]), ("quiz", "empty", [])])
    found = find_items(shelf(["barek toran melas"]), asked, 0.5)
    assert not len(found.rows) and not found.told.any()
    assert account(found, asked, 0.5, "remove")["tasks"]["quiz"]["too_short"] == 2


@pytest.mark.parametrize("action", ["remove", "mark"])
def test_the_corpus_is_without_them_or_says_where_they_are(tmp_path: Path, action: str) -> None:
    texts = [*DOCUMENTS, *(f"{text(30)} {one} {text(30)}" for one in QUESTIONS[:5])]
    rows = [json.dumps({"text": one}) for one in texts]
    (tmp_path / "mix.jsonl").write_text("\n".join(rows), encoding="utf-8")
    write_items(tmp_path / "items.jsonl", (("quiz", str(at), [one]) for at, one in enumerate(QUESTIONS)))
    settings: dict[str, Any] = {"tasks": ["quiz"], "action": action}
    config = CorpusConfig.parse(
        {"source": str(tmp_path / "mix.jsonl"), "prose": False, "max_overlap": 1.0, "measure_selection": False,
         "decontaminate": settings}
    )  # fmt: skip
    with pytest.raises(ConfigError, match="needs the items"):
        build_corpus(config, tmp_path / "out", EventLog(), seed=1, workers=1)
    build_corpus(config, tmp_path / "out", EventLog(), seed=1, workers=1, items=tmp_path / "items.jsonl")
    kept = [one for side in ("train", "heldout") for one in read_documents(tmp_path / "out" / f"{side}.parquet")]
    card = json.loads((tmp_path / "out" / "card.json").read_text(encoding="utf-8"))
    found = [json.loads(line) for line in (tmp_path / "out" / "contaminated.jsonl").read_text().splitlines()]
    assert sorted(one["item"] for one in found) == ["0", "1", "2", "3", "4"]
    assert len(kept) == (80 if action == "remove" else 85)
    assert {one["document"] for one in found}.isdisjoint(one.id for one in kept) == (action == "remove")
    step = next(step for step in card["steps"] if step["name"] == "benchmarks")
    assert step["removed"] == ({"holds items of quiz": 5} if action == "remove" else {})
    assert card["benchmarks"]["tasks"]["quiz"]["found"] == 5
    assert "| quiz | 60 | 5 | 5 | 0 |" in (tmp_path / "out" / "card.md").read_text(encoding="utf-8")


def test_items_come_from_tasks_and_from_files_of_rows(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text(json.dumps({"q": "one two", "options": ["a", {"deep": "b"}]}), "utf-8")
    task = (
        "kind: choice\ndata:\n  sources: [{rows: [{q: why, a: [x, y], g: 0}]}]\ncontext: '{{q}}'\nchoices: a\ngold: g\n"
    )
    (tmp_path / "mine.yaml").write_text(task, encoding="utf-8")
    found = list(items_of(BenchmarkItems(tasks=(str(tmp_path / "own.jsonl"), str(tmp_path / "mine.yaml")))))
    assert [(task, texts) for task, _, texts in found] == [
        ("own.jsonl", ["one two", "a", "deep", "b"]), ("mine", ["why", "x", "y"])
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="unknown task 'helaswag'"):
        list(items_of(BenchmarkItems(tasks=("helaswag",))))


def test_a_recipe_makes_the_items_before_the_corpus() -> None:
    recipe = Recipe.parse({"corpus": {"decontaminate": {"tasks": ["gsm8k"]}}, "model": {}, "pretrain": {}})
    nodes = {node.name: node for node in life(recipe)}
    assert nodes["corpus"].inputs == {"items": "benchmarks"} and nodes["benchmarks"].config.plain() == {
        "tasks": ["gsm8k"]
    }
    assert list(nodes)[:2] == ["benchmarks", "corpus"]
