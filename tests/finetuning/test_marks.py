"""Marks of templates written out in a user's rows: read ahead of the forecast, and never what stops it."""

from __future__ import annotations

from pathlib import Path

from tutelage.finetuning.data.marks import marks_of

NONE = {"stop_as_text": 0.0, "stop_mark": "", "template_as_text": 0.0, "template_mark": ""}


def test_the_marks_of_a_file_are_counted_and_named(tmp_path: Path) -> None:
    rows = ['{"text": "Hello.</s>"}', '{"text": "### Instruction: wave"}', '{"text": "a"}', '{"text": "b"}']
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    found = {"stop_as_text": 0.25, "stop_mark": "</s>", "template_as_text": 0.25, "template_mark": "### Instruction"}
    assert marks_of(str(tmp_path / "rows.jsonl")) == found == marks_of(str(tmp_path))


def test_a_folder_of_text_or_what_is_not_there_has_none(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("Hello.</s>\n")
    assert marks_of(str(tmp_path)) == marks_of(str(tmp_path / "missing")) == marks_of(None) == NONE
