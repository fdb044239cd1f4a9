"""What a model must be able to do to be measured, and the requests that it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Pair:
    """How likely is `continuation` after `context`, which may be empty?"""

    context: str
    continuation: str


@dataclass(frozen=True)
class Roll:
    """How likely is a whole text? overlap: windows of a long one overlap by half a context; else they stand side by
    side, as in lm-evaluation-harness."""

    text: str
    overlap: bool = True


@dataclass(frozen=True)
class Ask:
    """Go on from a prompt, greedily, up to the first of `until`. chat: the prompt is what a user says."""

    prompt: str
    until: tuple[str, ...] = ()
    max_tokens: int = 256
    chat: bool = False


Request = Pair | Roll | Ask


@dataclass(frozen=True)
class Likelihood:
    """Natural-log probability of `tokens` tokens; greedy: each is the likeliest one.

    cut: tokens of the context that were left out because it did not fit.
    """

    logprob: float
    tokens: int
    greedy: bool
    cut: int = 0


@dataclass(frozen=True)
class Written:
    """What was generated, without what ended it. ended: at a stop string or token, not for want of room."""

    text: str
    ended: bool
    cut: int = 0


@runtime_checkable
class Measured(Protocol):
    """A model that can be measured: ours, one of transformers, one behind an endpoint.

    name: as it is shown. identity and tokenizer: hashes; two models with both the same give the same answers.
    context: tokens that it can read, None where that is not known. precision: what it computes in.
    likelihoods: whether it can say how likely a text is; else only `generate` works. empty_context: whether that goes
    for a text with nothing before it, too.
    """

    name: str
    identity: str
    tokenizer: str
    precision: str
    context: int | None
    likelihoods: bool
    empty_context: bool

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def score(self, pairs: Sequence[Pair]) -> list[Likelihood]: ...

    def rolling(self, texts: Sequence[Roll]) -> list[Likelihood]: ...

    def generate(self, prompts: Sequence[Ask]) -> list[Written]: ...
