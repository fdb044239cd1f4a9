"""The forecast of the corpus: about right for three documents and for 20 MB, from what the files hold."""

from __future__ import annotations

import bz2
import os
import random
from pathlib import Path
from typing import Any

import pytest

from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.forecast import forecast


class Machine:
    """As fast as the one on which the constants were measured."""

    def slowness(self) -> float:
        return 1.0

    def process_memory(self) -> float:
        return 3.5e8


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})


def ahead(source: Path, **settings: Any) -> Any:
    return forecast(CorpusConfig(source=str(source), **settings), {}, Machine())  # type: ignore[arg-type]


def test_three_documents(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text("A short text of some words.", encoding="utf-8")
    found = ahead(tmp_path)
    assert found.seconds < 1.5  # measured: 0.4
    assert found.facts["heldout_documents"] == 1
    assert found.facts["train_documents"] + found.facts["heldout_documents"] <= 4


def test_twenty_megabytes(tmp_path: Path) -> None:
    paragraph = "The old river carries the boat of the sailor down to the sea, and nobody knows why it does so. " * 5
    (tmp_path / "a.txt").write_text((paragraph + "\n\n") * (20_000_000 // len(paragraph)), encoding="utf-8")
    found = ahead(tmp_path)
    assert 8 < found.seconds < 30  # measured on books: 14.4
    assert 3.5e8 + 4e7 < found.memory < 3.5e8 + 2e8  # measured: 0.41 GB
    assert 5000 < found.facts["train_documents"] < 20_000  # measured: 10,038
    assert ahead(tmp_path, max_characters=20_000).facts["train_documents"] < 2000
    assert ahead(tmp_path, prose=False).seconds < found.seconds - 2


def test_documents_are_counted_as_the_file_shows_them(tmp_path: Path) -> None:
    lines = [f"Caption {number * 7919 % 1009} shows a man and a {number % 89} dog." for number in range(30_000)]
    (tmp_path / "a.txt").write_text("\n".join(lines), encoding="utf-8")
    held = ahead(tmp_path / "a.txt", heldout=0.1, prose=False).facts["heldout_documents"]
    assert 2500 < held < 3500
    (tmp_path / "b.csv").write_text("text\n" + "\n".join(lines[:1000]), encoding="utf-8")
    assert 90 < ahead(tmp_path / "b.csv", heldout=0.1, prose=False).facts["heldout_documents"] < 110


def test_a_packed_file_is_larger_than_it_looks(tmp_path: Path) -> None:
    chance = random.Random(1)
    words = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(2, 9))) for _ in range(5000)]
    text = "\n\n".join(" ".join(chance.choices(words, k=60)) for _ in range(3000)).encode()
    (tmp_path / "a.txt.bz2").write_bytes(bz2.compress(text))
    (tmp_path / "a.txt").write_bytes(text)
    packed, plain = (ahead(tmp_path / name).facts["train_bytes"] for name in ("a.txt.bz2", "a.txt"))
    assert 0.4 * plain < packed < 2.5 * plain
