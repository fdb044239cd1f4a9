"""A tenth of a sound file made wrong, doubled or off-topic: how many of the first fifty that are doubted are planted?

    python benchmarks/planted_rows.py FILE --other FILE [--rows 2000] [--column text=body ...]

FILE holds labelled texts or questions with answers; the rows of `--other` (of the same kind) are what is off-topic.
Planted are a third of each, and then each kind alone. Wrong means another label, or the answer of another row. By
chance one in eleven would be found.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import finish

from tutelage.guidance.rows.doubtful import doubtful_rows
from tutelage.guidance.rows.reading import FileRow, FileRows, read_rows
from tutelage.recipe.one_step import parse_columns
from tutelage.store.events import EventLog

KINDS = ("wrong", "doubled", "off-topic")
MOST = 50


def wrong(rows: list[FileRow], chance: random.Random, labels: list[str]) -> list[FileRow]:
    """Another label each; of answers each gets that of the next, all of which are in the file."""
    if labels:
        return [replace(row, answer=chance.choice([one for one in labels if one != row.answer])) for row in rows]
    return [replace(row, answer=other.answer) for row, other in zip(rows, [*rows[1:], *rows[:1]], strict=True)]


def planted(
    sound: FileRows, other: list[FileRow], kinds: tuple[str, ...], chance: random.Random
) -> tuple[FileRows, set[int]]:
    """The file with a tenth as many bad rows of these kinds, shuffled, and their lines."""
    rows = list(sound.rows)
    share = max(1, len(rows) // 10 // len(kinds))
    labels = sorted({row.answer for row in rows}) if sound.kind == "classify" else []
    chance.shuffle(rows)
    made: dict[str, Callable[[], list[FileRow]]] = {
        "wrong": lambda: wrong(rows[:share], chance, labels),
        "doubled": lambda: rows[share : 2 * share],
        "off-topic": lambda: [
            replace(row, answer=chance.choice(labels) if labels else row.answer) for row in chance.sample(other, share)
        ],
    }
    bad = [row for kind in kinds for row in made[kind]()]
    kept = rows[share:] if "wrong" in kinds else rows
    marked = [(row, False) for row in kept] + [(row, True) for row in bad]
    chance.shuffle(marked)
    numbered = tuple(replace(row, line=line) for line, (row, _) in enumerate(marked, 1))
    lines = {line for line, (_, is_bad) in enumerate(marked, 1) if is_bad}
    # Of two rows that say the same the later one is the double, whichever was copied.
    seen: dict[str, int] = {}
    for row in numbered:
        if (first := seen.setdefault(row.whole, row.line)) != row.line and first in lines:
            lines.remove(first)
            lines.add(row.line)
    return replace(sound, rows=numbered), lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--other", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--column", action="append", default=[])
    options = parser.parse_args()
    chance = random.Random(1)
    sound = read_rows(options.file, parse_columns(options.column))
    different = {row.whole: row for row in sound.rows}
    sound = replace(sound, rows=tuple(chance.sample(list(different.values()), min(options.rows, len(different)))))
    other = list(read_rows(options.other).rows)
    found: dict[str, Any] = {}
    for kinds in (KINDS, *((kind,) for kind in KINDS)):
        file, lines = planted(sound, other, kinds, chance)
        begin = time.process_time()
        doubts = doubtful_rows(file, EventLog())
        seconds = time.process_time() - begin
        hits = sum(one.line in lines for one in doubts[:MOST])
        name = kinds[0] if len(kinds) == 1 else "all three"
        found[name] = {
            "precision_at_50": hits / MOST,
            "planted": len(lines),
            "rows": len(file.rows),
            "cpu_seconds": round(seconds, 1),
        }
        print(f"{name:<10} {hits} of the first {MOST} are among the {len(lines)} planted of {len(file.rows)} rows, "
              f"{seconds:.1f} CPU seconds", flush=True)  # fmt: skip
    finish("planted_rows", {"file": options.file.name, "kind": sound.kind, **found})


if __name__ == "__main__":
    main()
