"""What the report says of the selection by measure: how documents were judged, what each measure alone would keep."""

from __future__ import annotations

from typing import Any

from tutelage.corpus.selection.card import intervals, sentences, variety_rows
from tutelage.store.blocks import Block, Cell, fold, heading, prose, records_table, table
from tutelage.store.plain import as_dict


def blocks(card: dict[str, Any]) -> list[Block | None]:
    """How documents were selected by measure, where they were, and how varied the training text is."""
    return [*_selected(as_dict(card.get("select"))), _variety(as_dict(card.get("variety")))]


def _variety(measures: dict[str, Any]) -> Block | None:
    rows: list[list[Cell]] = [[name, value] for name, value in intervals(measures)]
    return (
        fold("Variety of the training text, in blocks of one size", [table(["Measure", "Mean#"], rows)])
        if rows
        else None
    )


def _selected(account: dict[str, Any]) -> list[Block | None]:
    if not account:
        return []
    rows: list[list[Cell]] = [[name, before, after] for name, before, after in variety_rows(account["variety"])]
    said = [f"{line[:1].upper()}{line[1:]}." for line in sentences(account)]
    return [
        heading("Selected by measure"),
        prose(" ".join(said)),
        records_table([{key.replace("_", " "): value for key, value in row.items()} for row in account["trade_off"]]),
        prose("Mean ranks (0 to 1) of what is kept as set, beside what each measure alone would have kept."),
        fold("Variety before and after, in blocks of one size", [table(["Measure", "Before#", "After#"], rows)]),
    ]
