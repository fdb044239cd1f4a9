"""Labelled text: the text and label columns of a file found or named, labels as text, what is odd about them said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tutelage.finetuning.data.audit import Audit, Findings, listed
from tutelage.finetuning.data.fields import Fields, check_columns, is_empty
from tutelage.finetuning.data.kinds import refuse_other
from tutelage.finetuning.data.odd_labels import SEVERAL_SHARE, refuse_joined, refuse_numbers, say_odd_labels
from tutelage.finetuning.data.reading import account, convert_all, is_false, is_judgement
from tutelage.finetuning.data.records import Source, read_records
from tutelage.finetuning.data.rows import Row
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.hashing import sha256_json
from tutelage.store.written import written

COLUMNS = ("text", "text_b", "label")
TEXT = ("text", "sentence", "review", "content", "body", "message", "tweet", "comment", "utterance", "document",
        "description", "headline", "sms", "post", "abstract", "comment_text", "review_text", "review_body",
        "tweet_text", "full_text", "question", "query", "title")  # fmt: skip
LABEL = ("label_text", "label_name", "label", "labels", "sentiment", "category", "class", "intent", "topic", "target",
         "tag", "rating", "stars", "polarity", "emotion", "annotation", "language", "lang", "score")  # fmt: skip
PAIRS = (("premise", "hypothesis"), ("sentence1", "sentence2"), ("question1", "question2"), ("text_a", "text_b"),
         ("text1", "text2"), ("text", "text_pair"), ("question", "sentence"), ("question", "answer"),
         ("question", "passage"), ("query", "passage"), ("query", "document"), ("claim", "evidence"))  # fmt: skip
WANTED = "a column of texts and one of labels (text,label)"
_OUTER = " \t\n\r\f\v\u00a0\u200b\u200c\u200d\u2060\ufeff"
_SEVERAL = "it has several labels"


def read_labelled(path: Path, log: EventLog, columns: Mapping[str, str] | None = None) -> tuple[list[Row], Audit]:
    """Rows {"id","text","label"} and the account of the file, which is said on the log.

    `columns` maps text, text_b, label to the file's columns; unnamed ones are found by their usual names. Two texts
    (`text_b`) are joined by a line break. Labels become text: true is "true", 1 and 1.0 are "1". Raises InputError
    where the columns cannot be told, labels are numbers to be estimated, or rows have several labels each.
    """
    source = read_records(path, {*TEXT, *LABEL, *(name for pair in PAIRS for name in pair)}, columns)
    refuse_other(source, columns, "classify")
    check_columns(columns, COLUMNS, source.columns, source.file)
    columns, remarks = find_columns(source, columns or {})
    source, hot = _by_place(source, columns)
    remarks += hot
    _refuse_several(source, columns)
    rows, found = convert_all(source, labelled_row, WANTED, columns)
    found.notes += remarks
    if columns.get("text_b"):
        found.notes.append(
            f"{columns['text']!r} and {columns['text_b']!r} are read as one text, joined by a line break"
        )
    refuse_numbers(source, rows)
    refuse_joined(source, rows, found)
    say_odd_labels(rows, found)
    return rows, account(source, rows, found, log)


def find_columns(source: Source, columns: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Our names -> the file's columns, and remarks. Raises InputError naming the columns where they cannot be told."""
    chosen = dict(columns)
    there = {name.strip().lower(): name for name in reversed(source.columns)}
    remarks: list[str] = []
    if _unnamed(source) and not columns:
        return _by_content(source)
    if "label" not in chosen and (name := next((name for name in LABEL if name in there), None)):
        chosen["label"] = there[name]
    if "text" not in chosen:
        names = text_columns([name for name in source.columns if name != chosen.get("label")])
        chosen.update(zip(("text", "text_b") if "text_b" not in chosen else ("text",), names, strict=False))
    missing = [name for name in ("text", "label") if name not in chosen]
    if missing and source.rows:
        _refuse_flags(source, missing)
        shown = listed([repr(name) for name in source.paths], 12)
        naming = " ".join(f"--column {name}=NAME" for name in missing)
        raise InputError(
            f"{source.file} has no usable row: no {missing[0]!r}: which column it is cannot be told from {shown}",
            hint=f"say which: {naming}; expected {WANTED}",
        )
    if any(chosen[name].strip().lower() != name for name in ("text", "label") if name in chosen):
        remarks.append(", ".join(f"{ours} is {theirs!r}" for ours, theirs in chosen.items()))
    return chosen, remarks


def text_columns(columns: Sequence[str]) -> list[str]:
    """The column of texts by its usual names, or both columns of a pair; none where no name is known."""
    there = {name.strip().lower(): name for name in reversed(columns)}
    single = next((name for name in TEXT if name in there), None)
    pair = next((pair for pair in PAIRS if all(name in there for name in pair)), None)
    if pair and (single is None or single in pair):
        return [there[name] for name in pair]
    return [there[single]] if single else []


def label_text(value: Any) -> str:
    """A label as text: true/false, whole numbers without a fraction (1.0 is "1"), text as it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if value != value:
            raise ValueError("no 'label' (it is not a number)")
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str) and not is_empty(value):
        return value.strip(_OUTER)
    if isinstance(value, dict) and not is_empty(value):
        raise ValueError(
            f"'label' is an object with {listed(map(repr, value))}: name the part that is meant, as in "
            f"--column label=COLUMN.{next(iter(value))}"
        )
    raise ValueError("'label' is empty or not text")


def are_vectors(values: Sequence[Any]) -> bool:
    """Whether labels are given as vectors of 0 and 1, one place a label (one-hot, multi-hot): all equally long, and
    not lists of different labels whose names happen to be 0 and 1."""
    lists = [value for value in map(unwritten, values) if not is_empty(value)]
    if not lists or not all(isinstance(value, list) and len(value) > 1 for value in lists):
        return False
    if len({len(value) for value in lists}) > 1 or not all(is_judgement(one) for value in lists for one in value):
        return False
    vectors = [tuple(map(is_false, value)) for value in lists]
    return any(len(set(vector)) < len(vector) for vector in vectors) or len(set(vectors)) > 1


def places(vector: Sequence[Any]) -> list[str]:
    """The places of a vector that say yes, counted from 0, as labels."""
    return [str(place) for place, one in enumerate(vector) if not is_false(one)]


def unwritten(value: Any) -> Any:
    """A label; the list where it is the text of one, as a table holds it."""
    listed_here = written(value) if isinstance(value, str) else None
    return listed_here if isinstance(listed_here, list) else value


def labelled_row(fields: Fields, found: Findings) -> tuple[str, str, Row]:
    """(layout, id, row) of a record whose fields are named text, text_b and label."""
    _refuse_rejected(fields)
    text = fields.take_text("text")
    if fields.has("text_b"):
        text = f"{text}\n{fields.take_text('text_b')}"
    value = fields.take("label")
    if value is None:
        raise ValueError("no 'label'")
    if isinstance(given := unwritten(value), list):
        value = given
    if _has_several(value):
        raise ValueError(_SEVERAL)
    if isinstance(value, list):
        value = value[0] if value else None
    row = {"text": text, "label": label_text(value)}
    if isinstance(value, str) and value != row["label"]:
        found.noted["white space around labels removed"] += 1
    if isinstance(value, float) and value.is_integer():
        found.noted["labels that are whole numbers with a fraction of 0 are named without it (1.0 is '1')"] += 1
    return "text,label", sha256_json(row)[:16], row


def _refuse_rejected(fields: Fields) -> None:
    """Prodigy's files keep what the annotator rejected or skipped, with the label that was proposed."""
    if fields.has("_input_hash", "_task_hash") and str(fields.peek("answer")).lower() in ("reject", "ignore"):
        raise ValueError(f"the annotator did not accept it ('answer' is {fields.take('answer')!r})")


def _unnamed(source: Source) -> bool:
    return bool(source.columns) and all(name.isdigit() for name in source.columns) and len(source.columns) > 1


def _by_content(source: Source) -> tuple[dict[str, str], list[str]]:
    """Columns without a header: of two, the one with few different and short values is the label."""
    names = source.columns
    values = {name: [str(row.get(name, "")).strip() for row in source.rows] for name in names}
    different = {name: len(set(values[name])) for name in names}
    length = {name: sum(map(len, values[name])) / max(1, len(values[name])) for name in names}
    label = min(names, key=lambda name: (different[name], length[name]))
    text = max((name for name in names if name != label), key=lambda name: length[name])
    if len(names) != 2 or different[label] * 2 > max(different[text], 2) or length[label] >= length[text]:
        shown = ", ".join(f"{name!r} (such as {values[name][0][:24]!r})" for name in names[:8])
        raise InputError(
            f"{source.file} has no header, and which column is the text and which the label cannot be told: {shown}",
            hint=f"name them, as in --column text={text} --column label={label}, or add a header",
        )
    return {"text": text, "label": label}, [f"column {label} is read as the label, column {text} as the text"]


def _refuse_flags(source: Source, missing: Sequence[str]) -> None:
    flags = [
        name
        for name in source.columns
        if {str(row.get(name)).strip().lower() for row in source.rows} in ({"0", "1"}, {"true", "false"})
    ]
    if "label" in missing and len(flags) > 1:
        raise InputError(
            f"{source.file} is multi-label data: {listed([repr(name) for name in flags], 8)} each hold yes or no",
            hint="tutelage finetune multilabel FILE learns them all; one of them: "
            f"--column text=TEXT --column label={flags[0]}",
        )


def _by_place(source: Source, columns: Mapping[str, str]) -> tuple[Source, list[str]]:
    """Labels given as vectors with a single 1 (one-hot) as the place of it. Raises InputError where some have more."""
    name = columns.get("label", "")
    values = [row.get(name) for row in source.rows]
    if not are_vectors(values):
        return source, []
    chosen = [places(vector) for vector in map(unwritten, values) if not is_empty(vector)]
    if any(len(labels) != 1 for labels in chosen):
        raise InputError(
            f"{source.file} is multi-label data: {name!r} holds vectors of 0 and 1, not all with a single 1",
            hint="tutelage finetune multilabel FILE learns all of them",
        )
    records = [
        (line, row if isinstance(row, str) or is_empty(row.get(name)) else {**row, name: places(unwritten(row[name]))})
        for line, row in source.records
    ]
    said = f"{name!r} holds vectors with a single 1 (one-hot): a label is named by its place, from 0"
    return replace(source, records=records), [said]


def _refuse_several(source: Source, columns: Mapping[str, str]) -> None:
    """Raise InputError where many rows have several labels; a few such rows are dropped and counted instead."""
    labels = [Fields(row, columns).take("label") for row in source.rows]
    count = sum(map(_has_several, labels))
    if count > SEVERAL_SHARE * len(source.records):
        raise InputError(
            f"{source.file} is multi-label data: {count} of {len(source.records)} rows have several labels",
            hint="tutelage finetune multilabel FILE learns all of them",
        )


def _has_several(label: Any) -> bool:
    """Whether a label is a list of different ones, or the text of a list, as a table holds it."""
    if isinstance(label, str):
        text = label.strip()
        if text[:1] == "[" and text[-1:] == "]" and "," in text:
            return not isinstance(given := unwritten(text), list) or _has_several(given)
        label = unwritten(label)
    return isinstance(label, list) and len({str(item) for item in label}) > 1
