"""What a task is: where its examples come from, its prompt, how an answer is graded, what trivial rivals say."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Row = dict[str, Any]


@dataclass(frozen=True)
class Grade:
    """How well an answer does, 0 to 1, and which parts of the rule it passes."""

    score: float
    passed: Mapping[str, bool]

    @property
    def perfect(self) -> bool:
        return all(self.passed.values())


@dataclass(frozen=True)
class Examples:
    """Rows to train on and rows held out, and how many were left out of each split, by reason.

    A row of a `labels` task is {"id", "text", "label"}, one of an `answers` task {"id", "prompt", "response"} and
    whatever else its grading needs.
    """

    train: list[Row]
    heldout: list[Row]
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)


def prompt_of(row: Row) -> str:
    return str(row.get("prompt") or row.get("text") or "")


@dataclass(frozen=True)
class Task:
    """One task; the same object feeds finetuning, the ranking of answers, rewards and evaluation.

    name: as recipes write it; also the name of its module.
    kind: `labels` (a text gets a label) or `answers` (a prompt gets an answer).
    columns: of the corpus, that `examples` reads; none: its examples are made, and no corpus is needed.
    examples: (training rows, held-out rows of the corpus, data seed) -> Examples; no answer stands in both splits.
    grade: (answer, row) -> Grade by a stated rule, which `rule` names; None where only a reference can judge.
    described: the text of a row by which a trivial rival finds the nearest training row, whose answer it gives.
    references: what the held-out answers are called, where they are shown beside the models' ("the true docstrings").
    cautions: what its figures do not say.
    """

    name: str
    title: str
    kind: Literal["labels", "answers"]
    columns: tuple[str, ...]
    examples: Callable[[Iterable[Row], Iterable[Row], int], Examples]
    grade: Callable[[str, Row], Grade] | None = None
    rule: str = ""
    described: Callable[[Row], str] = prompt_of
    references: str = "the references"
    cautions: tuple[str, ...] = ()


def made_examples(make: Callable[[random.Random], tuple[str, str]], seed: int, train: int, heldout: int) -> Examples:
    """So many examples from (prompt, response) that `make` draws; no prompt stands twice, the held-out ones are new.

    Fewer where there are not so many different prompts; one in eleven is then held out.
    """
    draw, found = random.Random(f"made:{seed}"), dict[str, str]()
    for _ in range(20 * (train + heldout)):
        found.setdefault(*make(draw))
        if len(found) == train + heldout:
            break
    rows: list[Row] = [
        {"id": f"{seed}-{at}", "prompt": prompt, "response": response}
        for at, (prompt, response) in enumerate(found.items())
    ]
    held = min(heldout, max(1, len(rows) // 11))
    return Examples(rows[held:], rows[:held])


def exactly(answer: str, row: Row) -> Grade:
    """Whether the answer is the response, but for white space and a full stop at the end."""
    same = " ".join(answer.split()).removesuffix(".") == " ".join(str(row["response"]).split())
    return Grade(float(same), {"right": same})


def made_task(
    name: str, title: str, make: Callable[[random.Random], tuple[str, str]], train: int, heldout: int
) -> Task:
    """A toy whose answers can be checked: so many examples that `make` draws from the data seed; it needs no corpus."""
    return Task(
        name=name,
        title=title,
        kind="answers",
        columns=(),
        examples=lambda _, __, seed: made_examples(make, seed, train, heldout),
        grade=exactly,
        rule="exact-answer rule",
        references="the right answers",
    )
