"""The definition of a task: examples, prompts, grading, trivial baselines, cautions."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Row = dict[str, Any]


@dataclass(frozen=True)
class Grade:
    """The score of an answer, 0 to 1, and which parts of the rule it passes."""

    score: float
    passed: Mapping[str, bool]

    @property
    def perfect(self) -> bool:
        return all(self.passed.values())


@dataclass(frozen=True)
class Examples:
    """Training and held-out rows, and numbers of dropped rows per split, by reason.

    A row of a `labels` task is {"id", "text", "label"}, of an `answers` task {"id", "prompt", "response"} and the
    fields that its grading needs.
    """

    train: list[Row]
    heldout: list[Row]
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)


def prompt_of(row: Row) -> str:
    return str(row.get("prompt") or row.get("text") or "")


@dataclass(frozen=True)
class Task:
    """A task, as used by finetuning, the ranking of answers, rewards and evaluation.

    name: in recipes; also the name of its module.
    kind: `labels` (a text gets a label) or `answers` (a prompt gets an answer).
    columns: of the corpus, that `examples` reads; empty if examples are generated without a corpus.
    examples: (training rows, held-out rows of the corpus, data seed) -> Examples; no answer is in both splits.
    grade: (answer, row) -> Grade by the rule named `rule`; None if only comparison with a reference is possible.
    described: (row) -> text for the nearest-neighbour baseline, which gives the answer of the nearest training row.
    references: what to call the held-out answers beside those of models ("the true docstrings").
    cautions: limits of its metrics.
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
    """`train` and `heldout` examples from pairs (prompt, response) drawn by `make`, with distinct prompts.

    Fewer if there are not enough distinct prompts; then one in eleven is held out.
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
    """Whether the answer equals the response, ignoring white space and a final full stop."""
    same = " ".join(answer.split()).removesuffix(".") == " ".join(str(row["response"]).split())
    return Grade(float(same), {"right": same})


def made_task(
    name: str, title: str, make: Callable[[random.Random], tuple[str, str]], train: int, heldout: int
) -> Task:
    """A toy task with verifiable answers: examples drawn by `make` from the data seed, without a corpus."""
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
