"""The collection of small files that people have, where it lies beside the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.finetuning.data import (
    choose_labels,
    read_conversations,
    read_labelled,
    read_preferences,
    stratified_split,
)
from tutelage.store.errors import InputError

CASES = Path(__file__).parents[2].parent / "shared" / "cases" / "finetuning"
KEPT = {
    "labelled": {
        "bool.jsonl": 120, "case_labels.csv": 120, "contradict.csv": 300, "cp1252.csv": 120, "crlf.tsv": 120,
        "ctrl_line.jsonl": 120, "empty.csv": "is empty", "float_labels.jsonl": 300, "multilabel.jsonl": "multi-label",
        "noheader.tsv": 300, "nul.csv": 120, "open_quote.tsv": 300, "rare_class.csv": 330, "reviews.csv": 300,
        "reviews_cols.csv": 300, "reviews_semicolon.csv": 300, "surrogate.jsonl": 119, "tickets.csv": 850,
        "utf16.csv": 120, "wrapped.json": 120,
    },
    "conversations": {
        "alpaca.json": 128, "alpaca_history.json": 80, "conversations_role.json": 80, "kto.jsonl": "judged bad",
        "multi.jsonl": 80, "pairs_pr.csv": 80, "pairs_qa.csv": 80, "parts.jsonl": 80, "sharegpt_emptysystem.json": 80,
        "sharegpt_system.json": 80, "tool_role.jsonl": 80, "tools.jsonl": 80,
        "pref.jsonl": "preference data",
    },
    "preferences": {"pref.jsonl": 96, "pref_alpaca.json": 96, "pref_hh.jsonl": 96, "pref_messages.jsonl": 96,
                    "kto.jsonl": "judged bad", "alpaca.json": "'instruct'"},
}  # fmt: skip
READERS = {"labelled": read_labelled, "conversations": read_conversations, "preferences": read_preferences}


@pytest.mark.skipif(not CASES.is_dir(), reason="the collection is not here; the other tests make files like these")
@pytest.mark.parametrize(("reader", "name"), [(reader, name) for reader, names in KEPT.items() for name in names])
def test_a_file_people_have(reader, name, heard):
    expected = KEPT[reader][name]
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            READERS[reader](CASES / name, heard.log)
        return
    rows, audit = READERS[reader](CASES / name, heard.log)
    assert len(rows) == expected == audit.rows - sum(audit.dropped.values())
    parts = stratified_split(rows, 0)
    assert len(parts.train) + len(parts.heldout) == expected and parts.heldout
    if reader == "labelled":
        assert set(choose_labels(parts.train, parts.heldout).kept) == set(audit.labels)
