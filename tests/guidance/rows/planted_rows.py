"""Rows of known worth: sound ones, and a tenth that is wrong, doubled or off-topic."""

from __future__ import annotations

import json
import random
from pathlib import Path

_TOPICS = {
    "sea": "harbour ship anchor tide sailor lighthouse wave captain island rope storm shore net pilot mast",
    "garden": "rose spade seed orchard hedge bee root blossom gardener soil pear vine leaf shed ladder",
    "school": "teacher pupil lesson blackboard chalk essay exam library desk holiday grammar atlas bell ink pencil",
}
_OTHER = "protein enzyme receptor assay dose plasma cohort placebo tissue gene mutation peptide ligand serum"
_VERBS = "watches carries follows remembers repairs describes leaves finds crosses keeps loses paints"


def text_of(words: str, chance: random.Random, sentences: int = 3) -> str:
    nouns, verbs = words.split(), _VERBS.split()
    return " ".join(
        f"The {chance.choice(nouns)} {chance.choice(verbs)} the {chance.choice(nouns)} of {chance.choice(nouns)}."
        for _ in range(sentences)
    )


def labelled(count: int, wrong: int, doubled: int, off_topic: int) -> tuple[list[dict[str, str]], set[int]]:
    """(rows {text, label}, lines of the planted ones, counted from 1)."""
    chance = random.Random(4)
    names = sorted(_TOPICS)
    rows = [{"text": text_of(_TOPICS[names[at % 3]], chance), "label": names[at % 3]} for at in range(count)]
    for row in chance.sample(rows, wrong):
        row["label"] = chance.choice([name for name in names if name != row["label"]])
        row["planted"] = "wrong"
    sound = [row for row in rows if "planted" not in row]
    rows += [{**row, "text": row["text"].upper(), "planted": "doubled"} for row in chance.sample(sound, doubled)]
    rows += [
        {"text": text_of(_OTHER, chance), "label": chance.choice(names), "planted": "other"} for _ in range(off_topic)
    ]
    return rows, _lines(rows)


def answered(count: int, wrong: int, doubled: int, off_topic: int) -> tuple[list[dict[str, str]], set[int]]:
    """(rows {prompt, response}, lines of the planted ones): the answer takes up words of the question."""
    chance = random.Random(5)
    nouns = [noun for words in _TOPICS.values() for noun in words.split()]
    rows = []
    for at in range(count):
        first, second = chance.sample(nouns, 2)
        words = _TOPICS[sorted(_TOPICS)[at % 3]]
        rows.append(
            {"prompt": f"What does the {first} {chance.choice(_VERBS.split())} near the {second} in year {at}?",
             "response": f"Near the {second} there is a {first}. {text_of(words, chance, 1)}"}
        )  # fmt: skip
    chosen = chance.sample(range(count), wrong)
    for at, other in zip(chosen, [*chosen[1:], chosen[0]] if chosen else [], strict=True):
        rows[at]["moved"] = rows[other]["response"]
    for row in rows:
        if "moved" in row:
            row["response"], row["planted"] = row.pop("moved"), "wrong"
    sound = [row for row in rows if "planted" not in row]
    rows += [{**row, "planted": "doubled"} for row in chance.sample(sound, doubled)]
    rows += [
        {"prompt": f"Which {text_of(_OTHER, chance, 1)}", "response": text_of(_OTHER, chance, 2), "planted": "other"}
        for _ in range(off_topic)
    ]
    return rows, _lines(rows)


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    kept = ({key: value for key, value in row.items() if key != "planted"} for row in rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    return path


def _lines(rows: list[dict[str, str]]) -> set[int]:
    return {line for line, row in enumerate(rows, 1) if "planted" in row}
