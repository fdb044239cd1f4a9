"""Names of things: equal content, equal name, today and in the next version. Goldens: a changed name is silent."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tutelage.store.hashing import by_hash, canonical_json, sha256_files, sha256_json, sha256_text


def test_canonical_json_is_fixed_forever() -> None:
    data = {"b": [1, 2.5, "é"], "a": {"d": None, "c": True}}
    assert canonical_json(data) == '{"a":{"c":true,"d":null},"b":[1,2.5,"é"]}'
    assert sha256_json(data) == hashlib.sha256(canonical_json(data).encode()).hexdigest()
    for value in (float("nan"), float("inf")):  # equal to nothing, or no JSON
        with pytest.raises(ValueError, match="JSON compliant"):
            canonical_json({"x": value})


def test_every_text_has_a_hash() -> None:
    assert sha256_text("é\ud800") == hashlib.sha256(b"\xc3\xa9\xed\xa0\x80").hexdigest()


def test_files_count_by_name_and_content_wherever_they_lie(tmp_path: Path) -> None:
    (tmp_path / "1").write_text("of b")
    (tmp_path / "2").write_text("of a")
    named = [("b", tmp_path / "1"), ("a", tmp_path / "2")]
    wanted = f"a\0{sha256_text('of a')}\nb\0{sha256_text('of b')}\n"
    assert sha256_files(named) == sha256_files(named[::-1]) == sha256_text(wanted)


def test_the_order_by_hash_is_fixed_forever() -> None:
    """It says which rows are held out, and which are kept where there are too many."""
    rows = [{"id": name} for name in "abcdef"]
    for seed, order in ((0, "fdacbe"), (1, "dafebc")):
        assert "".join(row["id"] for row in by_hash(rows, seed)) == order
        assert by_hash(rows[::-1], seed) == by_hash(rows, seed)
