"""Which model answers which prompts: the models of a run, and the held-out prompt sets that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage.evaluation.spec import Subject, asked_of
from tutelage.store.hashing import sha256_json
from tutelage.store.jsonl import read_rows
from tutelage.tasks import Task, task

Row = dict[str, Any]


@dataclass
class PromptSet:
    """Held-out rows with a prompt and a response, the matching training rows, and the models that answer.

    `short`: whether each reference would end within the token limit; None: unknown.
    """

    name: str
    train: list[Row]
    heldout: list[Row]
    task: Task | None
    askers: list[str] = field(default_factory=list)
    short: list[bool] | None = None

    @property
    def title(self) -> str:
        return self.task.title if self.task else f"answers of {self.name}"


def rows_of(model: Path) -> tuple[list[Row], list[Row]]:
    """The training and held-out rows stored in a finetuned model's directory."""
    train, heldout = (read_rows(model / "data" / f"{split}.jsonl") for split in ("train", "heldout"))
    return train, heldout


def prompt_sets(subjects: Sequence[Subject], models: Mapping[str, Path], wanted: Sequence[str]) -> list[PromptSet]:
    """Every distinct set of held-out prompts and the models that answer it (`asked_of`); equal rows are one set.

    Raises InputError for a model directory without its rows.
    """
    tasks = {subject.name: subject.task for subject in subjects}
    found: dict[str, PromptSet] = {}
    for name, askers in asked_of(subjects, wanted).items():
        train, heldout = (_answered(rows) for rows in rows_of(models[name]))
        known = tasks[name]
        mine = found.setdefault(
            sha256_json(heldout), PromptSet(name, train, heldout, task(known) if known is not None else None)
        )
        mine.askers += [one for one in askers if one not in mine.askers]
    return list(found.values())


def _answered(rows: Sequence[Row]) -> list[Row]:
    """Rows as question and response: the chosen answer of a preference pair, and no answers judged bad.

    `asked`: the turns before the response, system prompt and earlier exchanges included.
    """
    given = [row for row in rows if "completion" not in row or row.get("label")]
    names = ("response", "chosen", "completion")
    return [
        {**row, "response": next((row[name] for name in names if name in row), ""), "asked": _asked(row)}
        for row in given
    ]


def _asked(row: Row) -> list[Row]:
    turns = row.get("messages") or [{"role": "user", "content": str(row["prompt"])}]
    return list(turns[:-1] if turns[-1]["role"] == "assistant" else turns)
