"""A tenth of a sound file made faulty: how many of the first fifty that are doubted are planted?

    python benchmarks/planted_rows.py FILE --other FILE [--rows 2000] [--column text=body ...] [--model smollm2]

FILE holds labelled texts, questions with answers, or pairs of answers; the rows of `--other` (of the same kind) are
what is off-topic. Planted are the faults that a file of its kind can have together, and then each kind alone: another
label, the answer of another row, an answer cut at a word, the two answers of a pair exchanged, a copy, a row that is
off-topic, and with `--foreign FILE` (a line a sentence in another language) answers of such sentences. By chance one in
eleven would be found. With all together the first fifty of all rows are looked at, with one kind those of the rows that
are doubted for it. Last what the file's own check says, from the sound file alone.
"""

from __future__ import annotations

import argparse
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from common import finish

from tutelage.guidance.rows.detectors import (
    BROKEN_OFF,
    CONTRADICTS,
    DOUBLED,
    OFF_TOPIC,
    OTHER_LANGUAGE,
    SWAPPED,
    WRONG_ANSWER,
    WRONG_LABEL,
    detectors,
)
from tutelage.guidance.rows.doubtful import doubtful_rows
from tutelage.guidance.rows.reading import FileRow, FileRows, read_rows
from tutelage.inference.language_model import LanguageModel
from tutelage.loading import load
from tutelage.recipe.one_step import parse_columns
from tutelage.store.events import EventLog

OWN = {"classify": [WRONG_LABEL], "instruct": [WRONG_ANSWER, BROKEN_OFF], "prefer": [SWAPPED, BROKEN_OFF], "text": []}
MOST = 50


def planted(
    sound: FileRows, other: list[FileRow], foreign: list[str], kinds: list[str], chance: random.Random
) -> tuple[FileRows, set[int]]:
    """The file with a tenth as many bad rows of these kinds, shuffled, and their lines."""
    rows = list(sound.rows)
    chance.shuffle(rows)
    share = max(2, len(rows) // 10 // len(kinds))
    made = {one.why: one for one in detectors(sound, lambda _: nobody, EventLog()) if one.plant}
    bad: list[FileRow] = []
    for kind in kinds:
        if kind == DOUBLED:
            bad += rows[-share:]
        elif kind == OFF_TOPIC:
            labels = [row.answer for row in rows]
            keep = sound.kind == "classify"
            taken = chance.sample(other, min(share, len(other)))
            bad += [replace(row, answer=chance.choice(labels)) if keep else row for row in taken]
        elif kind == OTHER_LANGUAGE:
            taken, rows = rows[:share], rows[share:]
            bad += [replace(row, answer=translated(row.answer, foreign, chance)) for row in taken]
        else:
            detector = made[kind]
            able = [row for row in rows if detector.may(row)][:share]
            rows = [row for row in rows if row not in able]
            bad += detector.plant(able, chance) if detector.plant else []
    marked = [(row, False) for row in rows] + [(row, True) for row in bad]
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


def nobody(*_: Any) -> None:
    """Nobody looks while faults are planted."""


def translated(answer: str, foreign: list[str], chance: random.Random) -> str:
    """About as long."""
    return " ".join(chance.choice(foreign) for _ in range(max(1, round(len(answer) / 70))))


def measured(file: FileRows, lines: set[int], kinds: list[str], lm: LanguageModel | None) -> dict[str, Any]:
    """Of a single kind among the rows that are doubted for it: others may have faults of their own."""
    begin = time.process_time()
    doubts = doubtful_rows(file, EventLog(), lm).rows
    wanted = {*kinds, CONTRADICTS} if DOUBLED in kinds else {*kinds}
    doubts = doubts if len(kinds) > 1 else [one for one in doubts if one.why in wanted]
    seconds = time.process_time() - begin
    most = min(MOST, len(lines))
    hits = sum(one.line in lines for one in doubts[:most])
    return {"found": hits, "looked": most, "precision": round(hits / most, 3), "planted": len(lines),
            "rows": len(file.rows), "cpu_seconds": round(seconds, 1)}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--other", type=Path, required=True)
    parser.add_argument("--foreign", type=Path)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--column", action="append", default=[])
    parser.add_argument("--model")
    parser.add_argument("--only", nargs="+", help="these kinds alone")
    options = parser.parse_args()
    chance = random.Random(1)
    sound = read_rows(options.file, parse_columns(options.column))
    different = {row.whole: row for row in sound.rows}
    sound = replace(sound, rows=tuple(chance.sample(list(different.values()), min(options.rows, len(different)))))
    other = list(read_rows(options.other).rows)
    foreign = options.foreign.read_text(encoding="utf-8").splitlines() if options.foreign else []
    lm = load(options.model) if options.model else None
    kinds = [*OWN[sound.kind], DOUBLED, OFF_TOPIC, *([OTHER_LANGUAGE] if foreign and sound.kind != "classify" else [])]
    found: dict[str, Any] = {}
    for some in ([one] for one in options.only) if options.only else (kinds, *([kind] for kind in kinds)):
        name = some[0] if len(some) == 1 else "all"
        found[name] = one = measured(*planted(sound, other, foreign, some, chance), some, lm)
        print(f"{name:<26} {one['found']} of the first {one['looked']} are among the {one['planted']} planted of "
              f"{one['rows']} rows, {one['cpu_seconds']} CPU seconds", flush=True)  # fmt: skip
    if lm is None:
        found["check"] = [one.plain() for one in doubtful_rows(sound, EventLog()).checks]
        for one in found["check"]:
            print(f"own check                  {one['why']}: {one['found']} of {one['looked']}")
    finish("planted_rows", {"file": options.file.name, "kind": sound.kind, "model": options.model, **found})


if __name__ == "__main__":
    main()
