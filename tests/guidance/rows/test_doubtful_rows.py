"""Which rows hurt: what was planted is found first, sound files are left in peace, and every row has its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from planted_rows import answered, labelled, write

from tutelage.guidance.rows.doubtful import LEAST, counted, doubtful_rows
from tutelage.guidance.rows.reading import read_rows
from tutelage.guidance.rows.suspicion import excess, off_topic, share_of_chance
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog

ALL = (20, 20, 20)
SINGLE = {"wrong": (60, 0, 0), "doubled": (0, 60, 0), "off-topic": (0, 0, 60)}
KINDS = [
    pytest.param(ALL, id="all"),
    *(pytest.param(one, id=kind, marks=pytest.mark.slow) for kind, one in SINGLE.items()),
]


def precision(path: Path, planted: set[int], most: int = 50) -> float:
    doubts = doubtful_rows(read_rows(path), EventLog(), check=False).rows
    return sum(one.line in planted for one in doubts[:most]) / most


@pytest.mark.parametrize("kind", KINDS)
def test_a_tenth_of_bad_labelled_rows_is_ranked_first(kind: tuple[int, int, int], tmp_path: Path) -> None:
    rows, planted = labelled(540, *kind)
    assert precision(write(tmp_path / "rows.jsonl", rows), planted) >= 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_a_tenth_of_bad_answers_is_ranked_first(kind: tuple[int, int, int], tmp_path: Path) -> None:
    rows, planted = answered(540, *kind)
    assert precision(write(tmp_path / "rows.jsonl", rows), planted) >= 0.8


def test_reasons_lines_and_counts(tmp_path: Path) -> None:
    rows, _ = labelled(300, 0, 10, 0)
    rows.append({"text": rows[4]["text"], "label": "garden" if rows[4]["label"] != "garden" else "sea"})
    found = read_rows(write(tmp_path / "rows.jsonl", rows))
    doubts = doubtful_rows(found, EventLog(), check=False).rows
    assert sorted(one.line for one in doubts) == list(range(1, len(rows) + 1))
    first = doubts[0]
    assert (first.line, first.why) == (311, "duplicate with another label")
    assert first.detail == f"line 5 has {rows[4]['label']!r}"
    assert counted(doubts)["duplicate"] == 10
    assert [one.doubt for one in doubts] == sorted((one.doubt for one in doubts), reverse=True)


def test_a_sound_file_is_hardly_doubted(tmp_path: Path) -> None:
    for made in (labelled, answered):
        rows, _ = made(400, 0, 0, 0)
        found = read_rows(write(tmp_path / f"{made.__name__}.jsonl", rows))
        doubts = doubtful_rows(found, EventLog(), check=False).rows
        assert sum(one.doubt >= LEAST for one in doubts) <= 16


def test_the_kind_of_a_file_is_told_from_its_columns(tmp_path: Path) -> None:
    assert read_rows(write(tmp_path / "a.jsonl", labelled(30, 0, 0, 0)[0])).kind == "classify"
    assert read_rows(write(tmp_path / "b.jsonl", answered(30, 0, 0, 0)[0])).kind == "instruct"
    texts = [{"text": row["text"]} for row in labelled(30, 0, 0, 0)[0]]
    assert read_rows(write(tmp_path / "c.jsonl", [*texts, {"text": ""}])).dropped
    pairs = [{"prompt": "a", "chosen": "b", "rejected": "c"}] * 30
    assert read_rows(write(tmp_path / "d.jsonl", pairs)).kind == "prefer"
    with pytest.raises(InputError, match="5 usable rows"):
        read_rows(write(tmp_path / "e.jsonl", texts[:5]))


def test_the_excess_is_that_over_a_normal_distribution() -> None:
    chance = np.random.default_rng(2)
    sound = chance.normal(size=2000)
    assert (excess(sound) > 0.5).sum() < 10
    found = excess(np.concatenate([sound, np.full(40, 6.0)]))
    assert found[2000:].min() > 0.99
    order = np.argsort(sound)
    assert (np.diff(excess(sound)[order]) >= 0).all()


def test_places_that_are_spread_evenly_are_by_chance() -> None:
    chance = np.random.default_rng(2)
    found = share_of_chance(np.concatenate([chance.random(100), np.zeros(900)]))
    assert found[100:].max() < 0.1
    assert np.median(found[:100]) > 0.5
    assert off_topic(["a b", "a b", "a c"]).shape == (3,)
