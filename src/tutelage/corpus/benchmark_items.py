"""Which documents hold items of benchmarks: by 5-grams of words, each weighed by how rare it is in the corpus.

A text of an item counts as standing in a document if a stated share of the weight of its 5-grams does. The weight is
the inverse document frequency, so that turns of phrase that everybody uses do not make a find, and what is said
otherwise in a word or two still does. Texts of fewer than `SHORTEST` words are not looked for, since they stand
everywhere; 5-grams of more than fifty texts, and 1 % of them, are the form of the questions and do not count.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.corpus.overlap import Mapped
from tutelage.corpus.scripts import units_of
from tutelage.corpus.shelf import Shelf, View
from tutelage.corpus.wanted import Saved, Wanted, opened
from tutelage.corpus.words import I64, U64, Splitter, grams
from tutelage.store.jsonl import write_json_lines

GRAM, SHORTEST = 5, 8  # words
_FORM_TEXTS, _FORM_SHARE = 50, 0.01
_SHIFT = 1 << 31
FILE = "items.jsonl"


@dataclass(frozen=True, slots=True)
class Items:
    """tasks, names: of each item. texts: all that is looked for; owners: the item of each text [texts]."""

    tasks: list[str]
    names: list[str]
    texts: list[str]
    owners: I64


@dataclass(frozen=True, slots=True)
class Finds:
    """Documents (rows of the shelf) and the item that each holds, as pairs, with the largest share of a text of the
    item that stands there; told: whether an item has a text that can be looked for [items]."""

    rows: I64
    items: I64
    shares: NDArray[np.float64]
    told: NDArray[np.bool_]


def write_items(path: Path, items: Iterator[tuple[str, str, list[str]]]) -> None:
    """(task, name of the item, its texts) as JSON lines."""
    write_json_lines(path, ({"task": task, "item": name, "texts": texts} for task, name, texts in items))


def read_items(path: Path) -> Items:
    """Items as `write_items` wrote them."""
    found = Items([], [], [], np.zeros(0, np.int64))
    owners: list[int] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row: dict[str, Any] = json.loads(line)
        owners += [len(found.names)] * len(row["texts"])
        found.tasks.append(row["task"])
        found.names.append(row["item"])
        found.texts.extend(row["texts"])
    return Items(found.tasks, found.names, found.texts, np.array(owners, np.int64))


def find_items(documents: Shelf, items: Items, share: float, mapped: Mapped = map, work: Path | None = None) -> Finds:
    """Documents that hold at least `share` of the weight of a text of an item.

    In memory are the 5-grams of the items, and eight bytes for each of them that a document has.
    """
    values, texts = _grams_of(items)
    told = np.zeros(len(items.names), bool)
    told[items.owners[np.unique(texts)]] = True
    wanted = Wanted.of(values)
    met = list(mapped(partial(_met, wanted=wanted.saved(work, "items")), documents.views()))
    pairs = np.concatenate([np.zeros(0, np.int64), *met])  # row of the shelf, and gram
    rows, which = pairs // _SHIFT, pairs % _SHIFT
    held = np.bincount(which, minlength=len(wanted.values))
    weight = np.log((1 + len(documents)) / (1 + held)) + 1
    gram = np.searchsorted(wanted.values, values)
    total = np.bincount(texts, weight[gram], len(items.texts))
    order = np.argsort(gram, kind="stable")  # of each gram the texts that have it
    begins = np.searchsorted(gram[order], np.arange(len(wanted.values) + 1))
    times = np.diff(begins)[which]
    places = np.repeat(begins[:-1][which] - (np.cumsum(times) - times), times) + np.arange(times.sum())
    keys, at = np.unique(np.repeat(rows, times) * _SHIFT + texts[order][places], return_inverse=True)
    shares = np.bincount(at, np.repeat(weight[which], times), len(keys)) / total[keys % _SHIFT]
    found = shares >= share - 1e-9
    best: dict[tuple[int, int], float] = {}
    for key, value in zip(keys[found].tolist(), shares[found].tolist(), strict=True):
        pair = (key // _SHIFT, int(items.owners[key % _SHIFT]))
        best[pair] = max(value, best.get(pair, 0.0))
    return Finds(
        np.array([row for row, _ in best], np.int64), np.array([item for _, item in best], np.int64),
        np.array(list(best.values()), np.float64), told,
    )  # fmt: skip


def _grams_of(items: Items) -> tuple[U64, I64]:
    """(5-grams of the texts, the text of each), each once a text, without those that are a form of questions."""
    words = _splitter().words(pa.array(items.texts, pa.string()))
    values, texts = grams(words, GRAM)
    long = words.lengths[texts] >= SHORTEST
    pairs = np.unique(np.stack([values[long], texts[long].astype(np.uint64)]), axis=1)
    values, texts = pairs[0], pairs[1].astype(np.int64)
    _, at, counts = np.unique(values, return_inverse=True, return_counts=True)
    own = counts[at] <= max(_FORM_TEXTS, _FORM_SHARE * len(items.texts))
    return values[own], texts[own]


def _met(view: View, wanted: Wanted | Saved) -> I64:
    """Which of the grams each document of a part has: row * 2^31 + gram, each once."""
    looked = opened(wanted) if isinstance(wanted, Saved) else wanted
    found = [np.zeros(0, np.int64)]
    for rows, batch in view.batches():
        hashes, owners = grams(_splitter().words(batch.column("text")), GRAM)
        places, which = looked.find(hashes)
        found.append(np.unique(rows[owners[places]] * _SHIFT + which))
    return np.concatenate(found)


@lru_cache(maxsize=1)
def _splitter() -> Splitter:
    return Splitter(units_of)


def account(finds: Finds, items: Items, share: float, action: str) -> dict[str, Any]:
    """For the card: of each task its items, how many stand in documents and in how many, how many are too short."""
    tasks: dict[str, dict[str, int]] = {}
    for task, told in zip(items.tasks, finds.told.tolist(), strict=True):
        of = tasks.setdefault(task, {"items": 0, "found": 0, "documents": 0, "too_short": 0})
        of["items"] += 1
        of["too_short"] += not told
    named: Sequence[str] = [items.tasks[item] for item in finds.items.tolist()]
    for task, of in tasks.items():
        mine = np.array([name == task for name in named], bool)
        of["found"] = len(np.unique(finds.items[mine]))
        of["documents"] = len(np.unique(finds.rows[mine]))
    return {"action": action, "share": share, "documents": len(np.unique(finds.rows)), "tasks": tasks}


def rows_of(told: dict[str, Any]) -> list[list[str]]:
    """An account as rows of a table: task, items, found, documents, too short to look for."""
    return [
        [task, *(f"{one[key]:,}" for key in ("items", "found", "documents", "too_short"))]
        for task, one in told["tasks"].items()
    ]


def markdown_of_benchmarks(card: dict[str, Any]) -> str:
    """The section of a card on benchmark items; nothing where they were not looked for."""
    told = card.get("benchmarks")
    if not told:
        return ""
    lines = ["", "## Items of benchmarks", "", sentence(told), ""]
    lines += ["| task | items | found | in documents | too short to look for |", "|---|---:|---:|---:|---:|"]
    lines += [f"| {' | '.join(row)} |" for row in rows_of(told)]
    return "\n".join(lines) + "\n"


def sentence(told: dict[str, Any]) -> str:
    """What was done, in a sentence."""
    done = "were removed" if told["action"] == "remove" else "are marked, and trained on"
    return (
        f"{told['documents']:,} documents that hold {told['share']:.0%} or more of a text of an item {done} "
        "(contaminated.jsonl)."
    )
