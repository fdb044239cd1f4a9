"""The interface of a measured model, and the requests that it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Pair:
    """Request: log-likelihood of `continuation` after `context`, which may be empty."""

    context: str
    continuation: str


@dataclass(frozen=True)
class Roll:
    """Request: log-likelihood of a full text. overlap: windows of a long text overlap by half a context; else they are
    disjoint, as in lm-evaluation-harness."""

    text: str
    overlap: bool = True


@dataclass(frozen=True)
class Ask:
    """Request: greedy generation up to the first of `until`. chat: the prompt is a user message."""

    prompt: str
    until: tuple[str, ...] = ()
    max_tokens: int = 256
    chat: bool = False


Request = Pair | Roll | Ask


@dataclass(frozen=True)
class Likelihood:
    """Answer: natural-log probability of `tokens` tokens; greedy: each of them is the likeliest one.

    cut: number of context tokens truncated to fit.
    """

    logprob: float
    tokens: int
    greedy: bool
    cut: int = 0


@dataclass(frozen=True)
class Written:
    """Answer: generated text without the stop string. ended: by a stop string or token, not by the token limit."""

    text: str
    ended: bool
    cut: int = 0


@runtime_checkable
class Measured(Protocol):
    """A model that can be measured: ours, a transformers model, or an endpoint.

    name: for display. identity, tokenizer: hashes; models with equal hashes give the same answers. context: context
    length in tokens, None if unknown. precision: compute precision. likelihoods: whether it returns log-likelihoods;
    else only `generate` works. empty_context: whether that includes texts without context.
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
