"""A tiny corpus made by the real stage, for the tests of every room; made once a session.

Import the fixture in a conftest or a test module: `from corpus_fixture import tiny_corpus as tiny_corpus`, or call
`make_tiny_corpus(directory)`. A fake of the corpus stage made by hand can drift from the stage; this one cannot.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.document import Document, read_documents
from tutelage.corpus.stage import build_corpus
from tutelage.store.events import EventLog

_VERBS = ("Return", "Remove", "Count", "Write", "Find", "Sort", "Check", "Build")
_ADJECTIVES = ("shortest", "oldest", "largest", "hidden", "empty", "broken", "recent", "unused", "nearest", "heaviest")
_THINGS = {
    "graphs": ("path", "node", "edge", "cycle", "tree", "matching", "clique", "component", "neighbour", "flow"),
    "files": ("folder", "archive", "link", "line", "stream", "buffer", "header", "record", "page", "volume"),
    "network": ("packet", "socket", "request", "address", "server", "cookie", "route", "session", "proxy", "host"),
}
_REASONS = ("time", "memory", "names", "order", "weight", "owners", "colours", "sizes", "rights", "noise")


@dataclass(frozen=True)
class TinyCorpus:
    """A finished output of the corpus stage: its directory, card, metrics and both sides."""

    path: Path
    card: dict[str, Any]
    metrics: dict[str, Any]
    train: list[Document]
    heldout: list[Document]


def tiny_rows(count: int = 240) -> list[dict[str, str]]:
    """Rows that look like docstrings: text, label (three fields), name, kind, signature and summary."""
    chance = random.Random(11)
    rows = []
    labels = sorted(_THINGS)
    for number in range(count):
        label = labels[number % len(labels)]
        first, second, third = chance.sample(_THINGS[label], 3)
        verb, reason = chance.choice(_VERBS), chance.choice(_REASONS)
        one, two = chance.sample(_ADJECTIVES, 2)
        summary = f"{verb} the {one} {first} of a {second} by its {reason}."
        rest = (
            f"The {two} {third} is kept where {chance.choice(_REASONS)} and {chance.choice(_REASONS)} agree."
            f" A {chance.choice(_ADJECTIVES)} {second} raises an error with the number {number}."
        )
        name = f"{label}.{verb.lower()}_{one}_{first}_{number}"
        rows.append(
            {
                "text": f"{summary}\n\n{rest}", "label": label, "name": name, "kind": "function",
                "signature": f"{verb.lower()}_{one}_{first}({second}, {reason}=None)", "summary": summary,
            }
        )  # fmt: skip
    return rows


def make_tiny_corpus(directory: Path, seed: int = 1, **settings: Any) -> TinyCorpus:
    """Write `tiny_rows` as JSON lines below `directory` and run the corpus stage on them."""
    source = directory / "source" / "rows.jsonl"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text("".join(json.dumps(row) + "\n" for row in tiny_rows()), encoding="utf-8")
    chosen = {"source": str(source), "heldout": 0.2, "max_overlap": 0.6, **settings}
    out = directory / "corpus"
    metrics = build_corpus(CorpusConfig.parse(chosen), out, EventLog(), seed, workers=1)
    card = json.loads((out / "card.json").read_text(encoding="utf-8"))
    return TinyCorpus(
        out, card, metrics, read_documents(out / "train.parquet"), read_documents(out / "heldout.parquet")
    )


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> TinyCorpus:
    """The tiny corpus; do not write into its directory."""
    return make_tiny_corpus(tmp_path_factory.mktemp("tiny_corpus"))
