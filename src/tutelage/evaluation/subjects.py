"""Who is asked what: the models of a life, and the sets of held-out prompts that some of them share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage.evaluation.baselines import read_lines
from tutelage.evaluation.spec import Subject
from tutelage.store.errors import InputError
from tutelage.store.hashing import sha256_json
from tutelage.tasks import Task, task

Row = dict[str, Any]


@dataclass
class PromptSet:
    """Held-out rows with a prompt and a response, the training rows beside them, and who is asked."""

    name: str
    train: list[Row]
    heldout: list[Row]
    task: Task | None
    askers: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        return self.task.title if self.task else f"answers of {self.name}"


def rows_of(model: Path) -> tuple[list[Row], list[Row]]:
    """The training and held-out rows that a finetuned model's directory keeps."""
    try:
        return read_lines(model / "data" / "train.jsonl"), read_lines(model / "data" / "heldout.jsonl")
    except FileNotFoundError as error:
        raise InputError(f"{error.filename} is missing", hint="finetune again to write it") from None


def prompt_sets(subjects: Sequence[Subject], models: Mapping[str, Path], wanted: Sequence[str]) -> list[PromptSet]:
    """Every different set of held-out prompts, each asked of the step that left it and of all models before it.

    A step whose pairs were sampled from its parent is asked what its parent is asked. Two steps that left the same
    rows share one set. `wanted`: names of steps (empty: all).
    """
    by_name = {subject.name: subject for subject in subjects}
    found: dict[str, PromptSet] = {}
    of_step: dict[str, PromptSet] = {}
    for subject in subjects:
        if subject.heldout not in ("answers", "pairs") or (wanted and subject.name not in wanted):
            continue
        family = ancestors(subject, by_name)
        shared = next((of_step[one] for one in family[1:] if one in of_step), None)
        if subject.heldout == "pairs" and not subject.own_rows and shared is not None:
            mine = shared
        else:
            train, heldout = (_answered(rows) for rows in rows_of(models[subject.name]))
            key = sha256_json(heldout)
            known = task(subject.task) if subject.task else None
            mine = found.setdefault(key, PromptSet(subject.name, train, heldout, known))
        of_step[subject.name] = mine
        mine.askers += [one for one in reversed(family) if one not in mine.askers]
    return list(found.values())


def ancestors(subject: Subject, by_name: Mapping[str, Subject]) -> list[str]:
    """The subject itself and the models it was finetuned from, nearest first; only those that are measured."""
    names = [subject.name]
    while (parent := by_name[names[-1]].parent) in by_name and parent is not None:
        names.append(parent)
    return names


def _answered(rows: Sequence[Row]) -> list[Row]:
    """Rows as prompt and response; of a preference pair the chosen answer is the reference."""
    return [{**row, "response": row.get("response", row.get("chosen", ""))} for row in rows]
