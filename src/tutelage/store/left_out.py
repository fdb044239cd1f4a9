"""What a stage did not use of what it was given, from its metrics: a table for its section, words for its sentence."""

from __future__ import annotations

from typing import Any

from tutelage.store import format as f
from tutelage.store.blocks import Block, Cell, fold, notice, table
from tutelage.store.plain import as_dict
from tutelage.store.view import View

# Metrics that count unused data, with their singular and plural. Values are a number or counts by reason, optionally by
# split. Some are nested in `supervision` and `audit`.
_COUNTS = {
    "dropped": ("row dropped", "rows dropped"),
    "left_out": ("row left out", "rows left out"),
    "dropped_labels": ("row of a label that is too rare", "rows of labels that are too rare"),
    "ignored": ("field not used", "fields not used"),
    "malformed": ("malformed record", "malformed records"),
    "cut_texts": ("text truncated", "texts truncated"),
    "too_long": ("row too long", "rows too long"),
    "refused": ("row rejected by the chat template", "rows rejected by the chat template"),
    "truncated_samples": ("sample truncated at the limit", "samples truncated at the limit"),
    "documents_left_out": ("held-out document left out", "held-out documents left out"),
    "train_documents_left_out": ("training document left out", "training documents left out"),
    "skipped_steps": ("step skipped", "steps skipped"),
}
KEYS = (*_COUNTS, "audit")


def left_out(view: View) -> dict[str, dict[str, int]]:
    """For each of `KEYS` with a count above zero: reason ("" if unknown) -> count."""
    metrics = {**as_dict(view.metrics.get("audit")), **as_dict(view.metrics.get("supervision")), **view.metrics}
    found = {key: _by_reason(metrics.get(key)) for key in _COUNTS}
    return {key: reasons for key, reasons in found.items() if reasons}


def _by_reason(value: Any, before: str = "") -> dict[str, int]:
    if isinstance(value, dict):
        return {
            reason: count
            for name, inner in value.items()
            for reason, count in _by_reason(inner, f"{before}{', ' if before else ''}{f.words(str(name))}").items()
        }
    return {before: int(value)} if f.is_number(value) and value > 0 else {}


def left_out_words(view: View) -> str:
    """'2,606 rows left out, 887 rows too long'; empty if everything was used."""
    # A field counts once, however many rows have it.
    totals = {key: len(found) if key == "ignored" else sum(found.values()) for key, found in left_out(view).items()}
    return ", ".join(f.plural(count, *_COUNTS[key]) for key, count in totals.items())


def with_left_out(view: View, said: str) -> str:
    """A stage's sentence, followed by counts of unused data."""
    return f.sentence("; ".join(part for part in (said.rstrip("."), left_out_words(view)) if part))


def left_out_blocks(view: View) -> list[Block | None]:
    """A table of what was not used, by reason, the most first; and the warnings of the account of the user's file."""
    rows: list[list[Cell]] = [
        [f.sentence(_COUNTS[key][1]).rstrip("."), reason or f.NONE, f.number(count)]
        for key, found in left_out(view).items()
        for reason, count in sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
    ]
    counts = table(["Not used", "Which, or why", "Count#"], rows)
    said = as_dict(view.metrics.get("audit")).get("warnings")
    warnings = [notice(str(one), "warning") for one in said] if isinstance(said, list) else []
    return [*warnings, fold(f"Not used: {left_out_words(view)}", [counts]) if len(rows) > 6 else counts]
