"""The audit of a dataset for a method, as plain data: printed by `--audit`, stored in `data/audit.json`.

Keys: `what` (conversations, pairs, judged answers, texts, problems, documents), `file` (the audit of reading),
`split`, and, if applicable, `tokens`, `length`, `duplicates`, `repeated`, `bias`, `pairs`, `labels`, `noise`,
`sample`; `findings` are conclusions. A method may add figures, with their text: `lines` (titles and sentences for
display) and `said` (a sentence for the log, before the first step).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from tutelage.finetuning.context import keeps
from tutelage.finetuning.data import Audit, Row
from tutelage.finetuning.data.marks import marks_of_rows
from tutelage.finetuning.examples import Encoded, Learn, messages_of, supervised, supervised_row
from tutelage.finetuning.examples import asked_of as pair_context
from tutelage.finetuning.preflight.figures import (
    balance_figures,
    duplicate_figures,
    length_bias,
    length_figures,
    repeated_figures,
    token_figures,
)
from tutelage.finetuning.preflight.findings import Finding, findings
from tutelage.finetuning.preflight.pairs import pair_figures
from tutelage.finetuning.preflight.sample import runs
from tutelage.store.errors import InputError
from tutelage.tokenizer.messages import Message
from tutelage.tokenizer.tokenizer import Tokenizer

Found = dict[str, Any]


def conversations_account(
    tok: Tokenizer, train: Sequence[Row], heldout: Sequence[Row], encoded: Encoded, context: int,
    audit: Audit | None, columns: Mapping[str, str], learn: Learn = "answers",
) -> Found:  # fmt: skip
    """Audit of `encoded` training conversations and of the held-out ones."""
    found = begun("conversations", train, heldout, audit, columns)
    found |= _tokens(encoded, context)
    duplicates = duplicate_figures([_whole(row) for row in train], [])
    asked = [_asked(row) for row in train]
    overlap = duplicate_figures(asked, [_asked(row) for row in heldout])
    found["duplicates"] = duplicates | {key: overlap[key] for key in ("heldout_like_training", "heldout_examples")}
    found["repeated"] = repeated_figures(asked)
    place = shown_place(encoded, context)
    rendered, weights = supervised_row(tok, train[place], learn)
    found["sample"] = [{"title": "", "runs": runs(tok, rendered.ids, weights)}]
    return concluded(found)


def preferences_account(
    tok: Tokenizer, train: Sequence[Row], heldout: Sequence[Row], encoded: Encoded, context: int,
    audit: Audit | None, columns: Mapping[str, str],
) -> Found:  # fmt: skip
    """Audit of `encoded` training pairs, or judged answers, and of the held-out ones."""
    paired = "chosen" in train[0]
    found = begun("pairs" if paired else "judged answers", train, heldout, audit, columns)
    found |= _tokens(encoded, context)
    asked = [asked_text(row) for row in train]
    found["duplicates"] = duplicate_figures(asked, [asked_text(row) for row in heldout])
    found["repeated"] = repeated_figures(asked)
    if paired:
        found["bias"] = length_bias(_learned(encoded, 1.0), _learned(encoded, -1.0))
        found["pairs"] = pair_figures(train, heldout)
    row = train[shown_place(encoded, context)]
    answers = {side: row[side] for side in ("chosen", "rejected")} if paired else {
        "good" if row["label"] else "bad": row["completion"]
    }  # fmt: skip
    found["sample"] = []
    for title, answer in answers.items():
        turns = [*pair_context(row), Message("assistant", answer)]
        rendered, weights = supervised(tok, turns, [*(0.0 for _ in turns[1:]), 1.0])
        found["sample"].append({"title": title, "runs": runs(tok, rendered.ids, weights)})
    return concluded(found)


def labels_account(
    tok: Tokenizer, train: Sequence[Row], heldout: Sequence[Row], limit: int, audit: Audit | None,
    columns: Mapping[str, str], cut: bool = False, noise: Found | None = None, ordinal: bool = False,
    dropped: Mapping[str, Any] | None = None,
) -> Found:  # fmt: skip
    """Audit of labelled texts, truncated to `limit` tokens with their frame. cut: they are truncated already. ordinal:
    the labels are ordered. dropped: labels that are not trained, unless reported already."""
    found = begun("texts", train, heldout, audit, columns)
    if not cut:
        found["length"] = text_lengths(tok, train, limit)
    found["duplicates"] = duplicate_figures([row["text"] for row in train], [row["text"] for row in heldout])
    found["labels"] = balance_figures(Counter(row["label"] for row in train)) | {"ordinal": ordinal}
    found["dropped_labels"] = dict(dropped or {})
    if noise is not None:
        found["noise"] = noise
    ids = tok.framed(tok.encode(train[0]["text"]))[:limit]
    shown = runs(tok, ids, [0.0] * len(ids))
    found["sample"] = [{"title": "", "runs": [*shown, (f" -> {train[0]['label']}", True)]}]
    return concluded(found)


def text_lengths(tok: Tokenizer, rows: Sequence[Row], limit: int) -> Found:
    """Lengths of texts in tokens, frame included, and the loss by truncation to `limit`."""
    lengths = [len(tok.framed(ids)) for ids in tok.encode_batch([row["text"] for row in rows])]
    return {
        "context": limit,
        "rows": len(lengths),
        "median": round(median(lengths)),
        "longest": max(lengths),
        "keeps_95": keeps(lengths, 0.95),
        "keeps_99": keeps(lengths, 0.99),
        "cut": sum(length > limit for length in lengths),
        "read_lost_share": round(sum(max(0, length - limit) for length in lengths) / max(sum(lengths), 1), 4),
    }


def begun(
    what: str, train: Sequence[Row], heldout: Sequence[Row], audit: Audit | None, columns: Mapping[str, str]
) -> Found:
    """The common part of every audit: kind of rows, file, and split."""
    found: Found = {
        "what": what,
        "split": {"train": len(train), "heldout": len(heldout)},
        "marks": marks_of_rows(train),
    }
    if audit is not None:
        found |= {"file": audit.plain(), "columns": dict(columns)}
    return found


def _tokens(encoded: Encoded, context: int) -> Found:
    kept = [reading for reading in encoded.readings.values() if reading.needs <= context]
    if not kept or not sum(reading.supervised for reading in kept):
        raise InputError(
            f"nothing would be trained: none of {len(encoded.readings)} rows fits into {context} tokens",
            hint=f"the longest needs {max(encoded.needs, default=0)}: raise context_length, as far as the model's "
            "max_position_embeddings allows, or shorten the rows",
        )
    return {"tokens": token_figures(kept), "length": length_figures(encoded, context), "refused": encoded.refused}


def concluded(found: Found, own: Sequence[Finding] = ()) -> Found:
    """The audit with findings from its figures. own: findings of the method."""
    return found | {"findings": findings(found, own)}


def shown_place(encoded: Encoded, context: int) -> int:
    """Index of the sample row: the first one that fits and is at most of median length."""
    needs = {place: reading.needs for place, reading in encoded.readings.items() if reading.needs <= context}
    usual = sorted(needs.values())[len(needs) // 2]
    return next(place for place, length in needs.items() if length <= usual)


def _learned(encoded: Encoded, side: float) -> list[int]:
    """Number of target tokens of each pair's chosen (1) or rejected (-1) answer."""
    pairs = [[value for segment in pair for value in segment.extras["side"]] for pair in encoded.segments.values()]
    return [round(sum(side * value for value in values if side * value > 0)) for values in pairs]


def _whole(row: Row) -> str:
    return "\n".join([_asked(row), str(row["response"])])


def _asked(row: Row) -> str:
    """The conversation before the last answer."""
    return "\n".join(message.content for message in messages_of(row)[:-1])


def asked_text(row: Row) -> str:
    """The prompt of a pair or problem as text."""
    return "\n".join(message.content for message in pair_context(row))
