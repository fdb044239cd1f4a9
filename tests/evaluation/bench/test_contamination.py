from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tutelage.evaluation.bench.bench import Wanted, check_contamination, prepare_all, run_benchmarks
from tutelage.evaluation.bench.contamination import documents_of, overlap, texts_of
from tutelage.evaluation.bench.ours import OurModel
from tutelage.evaluation.bench.task import BenchTask
from tutelage.store.errors import InputError

LONG = "it was the best of times it was the worst of times it was the age of wisdom"


def test_a_run_of_words_is_found_whatever_case_and_punctuation():
    items = {("t", "in"): [LONG], ("t", "out"): [LONG.replace("of", "for")], ("t", "short"): ["too short"]}
    found = overlap(items, ["Before. " + LONG.upper().replace(" ", ", ") + "! After", "something else"])
    assert found.found[("t", "in")] == 1
    assert found.found[("t", "out")] == 0
    assert ("t", "short") not in found.found
    assert found.documents == 2


def test_half_a_sentence_is_half_found():
    words = LONG.split()
    found = overlap({("t", "a"): [LONG]}, [" ".join(words[:15])])
    assert found.found[("t", "a")] == pytest.approx(3 / (len(words) - 12))


def test_all_texts_of_a_row_count():
    assert texts_of({"a": "x", "b": {"c": ["y", {"z": 1}]}, "d": 3}) == ["x", "c", "y", "z"]


def test_a_corpus_is_read_without_what_was_held_out(tmp_path: Path):
    for name in ("train", "heldout"):
        pq.write_table(pa.table({"text": [name]}), tmp_path / f"{name}.parquet")
    assert list(documents_of(tmp_path)) == ["train"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="contains no corpus"):
        list(documents_of(tmp_path / "empty"))


def test_clean_and_overlapping_items_are_scored_apart(tmp_path: Path, model: OurModel):
    rows = [{"q": f"{number} {LONG} {number}?", "o": ["yes", "no"], "g": number % 2} for number in range(12)]
    task = BenchTask.parse(
        {"name": "t", "title": "t", "kind": "choice", "data": {"sources": [{"rows": rows}]}, "context": "{{q}}",
         "choices": "o", "gold": "g"}
    )  # fmt: skip
    (tmp_path / "corpus.txt").write_text(f"3 {LONG}")
    (result,) = check_contamination(
        run_benchmarks(model, prepare_all([Wanted(task)])), documents_of(tmp_path / "corpus.txt")
    )
    assert result.contamination is not None
    assert result.contamination["items"] == 12  # the middle is in all of them
    rows[0]["q"] = " ".join(f"w{number}" for number in range(20))
    other = task.with_(data={"sources": [{"rows": rows}]})
    (result,) = check_contamination(
        run_benchmarks(model, prepare_all([Wanted(other)])), documents_of(tmp_path / "corpus.txt")
    )
    assert result.contamination is not None
    assert (result.contamination["clean"]["n"], result.contamination["overlapping"]["n"]) == (1, 11)
