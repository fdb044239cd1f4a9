"""The judge's prompts, and parsers for its replies."""

from __future__ import annotations

import re
from dataclasses import dataclass

VERSION = 1  # of the prompts: different wording is a different judge
LETTERS = ("A", "B", "TIE")
_PAIR = """Two assistants have answered the same request. Say whose answer serves the user better.

Judge how correct, helpful and to the point an answer is. Length is no merit, and neither is coming first.
{reference}
[Request]
{prompt}

[Answer A]
{first}

[Answer B]
{second}

{ask}"""
_SINGLE = """An assistant has answered a request. Rate the answer from 1 (useless) to 10 (could not be better).

Judge how correct, helpful and to the point it is. Length is no merit.
{reference}
[Request]
{prompt}

[Answer]
{first}

{ask}"""
_REASONED = {
    "pair": "Give your reasons in a few sentences. End with one line: VERDICT: A, VERDICT: B or VERDICT: TIE",
    "single": "Give your reasons in a few sentences. End with one line: RATING: and a number from 1 to 10",
}
_SHORT = {
    "pair": "Whose answer is better? Reply with A, B or TIE alone.",
    "single": "Reply with the number alone.",
}
_VERDICT = re.compile(r"VERDICT\W{0,6}(A|B|TIE)\b", re.IGNORECASE)
_BARE = re.compile(r"\W*(A|B|TIE)\W*", re.IGNORECASE)
_RATING = re.compile(r"RATING\W{0,6}(10|[1-9])(?:\.(\d))?\b(?!\d)", re.IGNORECASE)
_NUMBER = re.compile(r"\W*(10|[1-9])(?:\.(\d))?(?:\s*/\s*10)?\W*")


@dataclass(frozen=True)
class Question:
    """A request to a judge: two answers to a prompt, or one (`second` is None)."""

    prompt: str
    first: str
    second: str | None = None
    reference: str | None = None

    @property
    def kind(self) -> str:
        return "single" if self.second is None else "pair"


def ask(question: Question, reasoned: bool) -> str:
    """The prompt for a judge; reasoned: it may give reasons before its verdict."""
    given = f"\nA right answer, to compare with:\n{question.reference}\n" if question.reference else ""
    frame = _SINGLE if question.second is None else _PAIR
    endings = _REASONED if reasoned else _SHORT
    return frame.format(
        reference=given, prompt=question.prompt, first=question.first, second=question.second or "",
        ask=endings[question.kind],
    )  # fmt: skip


def read_verdict(text: str) -> float | None:
    """1 for the first answer, 0 for the second, 0.5 for a tie; the last verdict counts. None if there is none."""
    found = _VERDICT.findall(text)
    if not found and (bare := _BARE.fullmatch(text.strip())):
        found = [bare[1]]
    return {"A": 1.0, "B": 0.0, "TIE": 0.5}[found[-1].upper()] if found else None


def read_rating(text: str) -> float | None:
    """The rating, 1 to 10; None if the reply has none."""
    found = _RATING.findall(text)
    if not found and (bare := _NUMBER.fullmatch(text.strip())):
        found = [bare.groups(default="")]
    if not found:
        return None
    whole, tenth = found[-1]
    return min(10.0, float(f"{whole}.{tenth or 0}"))
