"""Two varied keys as a table: one down, one across."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def grid(arms: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """For arms (as in `result.plain`) that are all combinations of two keys: the keys, their values, and the number
    of each pair's arm; else None. A value in braces sets several keys, and then there is no table."""
    pairs = [[one.partition("=")[::2] for one in arm["sets"]] for arm in arms]
    if any(len(pair) != 2 for pair in pairs) or len({(pair[0][0], pair[1][0]) for pair in pairs}) != 1:
        return None
    down, across = (list(dict.fromkeys(pair[axis][1] for pair in pairs)) for axis in (0, 1))
    if len(down) < 2 or len(across) < 2 or len(down) * len(across) != len(arms):
        return None
    places = {(pair[0][1], pair[1][1]): number for number, pair in enumerate(pairs)}
    return {
        "down": pairs[0][0][0],
        "across": pairs[0][1][0],
        "down_values": down,
        "across_values": across,
        "arms": [[places[one, other] for other in across] for one in down],
    }


def cells(found: Mapping[str, Any]) -> list[list[str]]:
    """The cells of the table: each arm's measurement, and its outcome against the first."""
    shown = [
        f"{'failed' if arm['mean'] is None else format(arm['mean'], '.4f')} {_word(arm['outcome'])}".strip()
        for arm in found["arms"]
    ]
    return [[shown[number] for number in row] for row in found["grid"]["arms"]]


def _word(outcome: str) -> str:
    """Without an outcome there is only the figure."""
    return outcome if outcome in ("first", "better", "worse") else ""
