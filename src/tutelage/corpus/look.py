"""Looking at a corpus that is made: what each rule took out, what was kept, and how two corpora differ."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from tutelage.corpus.document import COLUMNS, Document
from tutelage.store.errors import ConfigError, InputError, nearest
from tutelage.store.jsonl import read_rows

REMOVED = "removed.jsonl"
SIDES = ("train", "heldout")
_ROWS = 256  # of a file, at a time


def read_card(corpus: Path) -> dict[str, Any]:
    """The data card of a corpus folder. Raises InputError."""
    try:
        card: dict[str, Any] = json.loads((corpus / "card.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{corpus} is no corpus: it has no readable card.json") from None
    return card


def removals(corpus: Path) -> list[dict[str, Any]]:
    """For each step and reason how many documents, or for parts of documents how many pieces and bytes, went."""
    rows: list[dict[str, Any]] = []
    for step in read_card(corpus)["steps"]:
        pieces = step.get("pieces", {})
        for reason in dict.fromkeys([*step["removed"], *pieces]):
            piece = pieces.get(reason, {"count": 0, "bytes": 0})
            rows.append({
                "step": step["name"], "reason": reason, "documents": step["removed"].get(reason, 0),
                "pieces": piece["count"], "bytes": piece["bytes"],
            })  # fmt: skip
    return rows


def removed(corpus: Path, rule: str, count: int) -> list[dict[str, Any]]:
    """Documents that a rule or step took out, the first by id (a random order), and pieces that it took out of others.

    Raises ConfigError for a rule that took nothing.
    """
    card = read_card(corpus)
    names = {row[key] for row in removals(corpus) for key in ("step", "reason")}
    if rule not in names:
        hint = nearest(rule, names) if names else "nothing was taken out of it by any rule"
        raise ConfigError(f"no rule {rule!r} took anything out of {corpus}", hint=hint)
    rows = [row for row in read_rows(corpus / REMOVED) if rule in (row["step"], row["reason"])]
    pieces = [
        {"step": step["name"], "reason": name, "text": example}
        for step in card["steps"]
        for name, piece in step.get("pieces", {}).items()
        for example in piece["examples"]
        if rule in (step["name"], name)
    ]
    return [*rows[:count], *pieces[:count]]


def kept(corpus: Path, side: str, count: int, containing: str = "") -> list[dict[str, Any]]:
    """The first documents of a side by id (a random order), of those that contain a text, whatever its case."""
    if side not in SIDES:
        raise ConfigError(f"a corpus has no side {side!r}", hint=nearest(side, list(SIDES)))
    found: list[dict[str, Any]] = []
    for document in _documents(corpus / f"{side}.parquet"):
        if containing.lower() in document.text.lower():
            found.append(asdict(document))
            if len(found) >= count:
                break
    return found


def compared(one: Path, other: Path) -> dict[str, Any]:
    """What two corpora have in common, and how their figures differ.

    `same`: documents with the same id and text; `changed`: with the same id, not the same text; `only`: the others of
    each, with the reasons under which the other corpus took some of them out (as far as it has kept a sample of those).
    """
    cards = [read_card(one), read_card(other)]
    texts = [_texts(one), _texts(other)]
    common = texts[0].keys() & texts[1].keys()
    same = sum(texts[0][id_] == texts[1][id_] for id_ in common)
    moved = _moved(one, other)
    only = [len(mine.keys() - common) for mine in texts]
    return {
        "documents": [card["documents"] for card in cards],
        "bytes": [card["bytes"] for card in cards],
        "heldout": [card["heldout"]["documents"] for card in cards],
        "same": same,
        "changed": len(common) - same,
        "only": only,
        "heldout_in_one_trained_on_in_the_other": moved,
        "removed": _side_by_side(*(removals(folder) for folder in (one, other))),
        "diversity": {
            name: [card["diversity"].get(name) for card in cards] for name in cards[0]["diversity"]
        },
    }  # fmt: skip


def _side_by_side(*sides: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Removals of both, by step and reason."""
    found: dict[tuple[str, str], dict[str, list[int]]] = defaultdict(lambda: {"documents": [0, 0], "pieces": [0, 0]})
    for number, rows in enumerate(sides):
        for row in rows:
            for what in ("documents", "pieces"):
                found[row["step"], row["reason"]][what][number] += row[what]
    return [{"step": step, "reason": reason, **counts} for (step, reason), counts in found.items()]


def _moved(one: Path, other: Path) -> list[int]:
    """Documents of each corpus's held-out side that stand on the training side of the other."""
    ids = [{side: _ids(folder / f"{side}.parquet") for side in SIDES} for folder in (one, other)]
    return [
        len(np.intersect1d(ids[number]["heldout"], ids[1 - number]["train"], assume_unique=False))
        for number in (0, 1)
    ]  # fmt: skip


def _ids(path: Path) -> np.ndarray:
    return np.array(pq.read_table(path, columns=["id"])["id"].to_pylist(), "S")


def _texts(corpus: Path) -> dict[str, int]:
    """Of each document a hash of its text."""
    return {one.id: hash(one.text) for side in SIDES for one in _documents(corpus / f"{side}.parquet")}


def _documents(path: Path) -> Iterator[Document]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_ROWS, columns=list(COLUMNS)):
                for row in batch.to_pylist():
                    yield Document(**row)
    except OSError:
        raise InputError(f"{path} is missing", hint="its folder is not a corpus") from None
