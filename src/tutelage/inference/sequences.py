"""Data types of the engine: prompts, running answers, tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tutelage.inference.choosing import Chooser
from tutelage.inference.scoring import TokenScore
from tutelage.inference.speculation import Drafting
from tutelage.store.errors import InputError

StopReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Token:
    """One generated token of one row. `stop_reason` is set on the row's last; `top`: see `Sampling.top_logprobs`."""

    row: int
    id: int
    logprob: float
    stop_reason: StopReason | None
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Failure:
    """A row that ended with an error: there is no token to choose."""

    row: int
    error: InputError


@dataclass(eq=False)
class PromptScores:
    """What the model says of each token of a prompt but the first, filled in while the prompt is prefilled. `top`:
    number of likeliest tokens at each place."""

    top: int = 0
    made: list[TokenScore] = field(default_factory=list)


@dataclass
class Output:
    """Output for one prompt: ids (final stop id included) with a log-probability each."""

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    stop_reason: StopReason = "length"


@dataclass(eq=False)
class Answer:
    """A running answer. `row`: row id of its tokens; `length`: tokens so far, prompt included."""

    row: int
    chooser: Chooser
    stop_ids: frozenset[int]
    length: int
    limit: int
    last: int = 0  # the last token
    kept: int = 0  # prompt tokens taken from the prefix cache
    ended: bool = False
    drafting: Drafting | None = None
    scores: PromptScores | None = None


@dataclass(eq=False)
class Asked:
    """A prompt with the sequences that answer it, for which it is prefilled once."""

    prompt: Sequence[int]
    answers: list[Answer]
    salt: str
    scores: PromptScores | None = None
    place: int = -1  # cache row
    done: int = 0  # prefilled tokens
    parked: int = 0  # prefilled tokens when it last yielded to a short prompt
