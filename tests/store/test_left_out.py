"""What a stage did not use: counted once, named, and never mixed up with what it did use."""

from __future__ import annotations

from typing import Any

from tutelage.store.left_out import left_out, left_out_blocks, left_out_words, with_left_out
from tutelage.store.view import View

# As `Audit.plain` gives it.
AUDIT: dict[str, Any] = {
    "file": "mails.csv", "format": "csv", "encoding": "utf-8", "rows": 100, "kept": 97,
    "dropped": {"empty text": 2, "no label": 1}, "examples": {"empty text": [4, 9], "no label": [31]},
    "ignored": {"sender": 97, "date": 90}, "labels": {"spam": 40, "ham": 57}, "notes": ["a header was found"],
    "warnings": ["7 texts occur twice"], "unit": "line",
}  # fmt: skip


def test_of_the_account_of_a_file_only_what_was_dropped_or_ignored_counts() -> None:
    view = View("spam", metrics={"audit": AUDIT})
    assert left_out(view) == {
        "dropped": {"empty text": 2, "no label": 1}, "ignored": {"sender": 97, "date": 90},
    }  # fmt: skip
    assert left_out_words(view) == "3 rows dropped, 2 fields not used"
    warning, table = left_out_blocks(view)
    assert warning is not None and (warning["text"], warning["level"]) == ("7 texts occur twice", "warning")
    assert table is not None and table["rows"][0] == ["Rows dropped", "empty text", "2"]


def test_reasons_by_split_and_counts_of_one() -> None:
    view = View(
        "chat",
        metrics={
            "left_out": {"train": {"markup": 900, "not_ascii": 26}, "heldout": {"markup": 39}},
            "supervision": {"rows": 1000, "kept": 999, "too_long": 1},
            "dropped_labels": {"other": 3},
            "skipped_steps": 0,
        },
    )
    assert left_out(view)["left_out"] == {"train, markup": 900, "train, not ascii": 26, "heldout, markup": 39}
    assert (
        with_left_out(view, "chrF 30.1")
        == "chrF 30.1; 965 rows left out, 3 rows of labels that are too rare, 1 row too long."
    )


def test_where_all_was_used_nothing_is_said() -> None:
    view = View("spam", metrics={"skipped_steps": 0, "left_out": {}, "audit": {**AUDIT, "dropped": {}, "ignored": {}}})
    assert left_out_words(view) == "" and with_left_out(view, "done") == "Done."
    assert with_left_out(View("x"), "") == ""
