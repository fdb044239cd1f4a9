"""What the engine works on and gives out: prompts, answers in the making, tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tutelage.inference.choosing import Chooser
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
    """A row that ended for a fault of its own: there is no token to choose."""

    row: int
    error: InputError


@dataclass
class Output:
    """What was generated for one prompt: the ids (a stop id that ended it included), a log-probability each."""

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    stop_reason: StopReason = "length"


@dataclass(eq=False)
class Answer:
    """One answer in the making. `row`: what its tokens are called by; `length`: tokens so far, prompt included."""

    row: int
    chooser: Chooser
    stop_ids: frozenset[int]
    length: int
    limit: int
    last: int = 0  # the token that was said last
    kept: int = 0  # tokens of its prompt that had been read for an earlier one
    ended: bool = False
    drafting: Drafting | None = None


@dataclass(eq=False)
class Asked:
    """A prompt and the sequences that answer it; it is read once for all of them."""

    prompt: Sequence[int]
    answers: list[Answer]
    salt: str
    place: int = -1  # row of the cache
    done: int = 0  # tokens that are read
    parked: int = 0  # tokens that were read when it last made way for a short one
