"""Results of a language model: scores and generations."""

from __future__ import annotations

from dataclasses import dataclass, field

from tutelage.inference.sequences import StopReason


@dataclass(frozen=True)
class Score:
    """Score of a continuation: natural-log probability, number of tokens, and whether it is the greedy output."""

    logprob: float
    num_tokens: int
    is_greedy: bool


@dataclass(frozen=True)
class Generation:
    """A generated answer. `ids`: all generated ids, stop token included; `logprobs`: one per id.

    `text` is without control tokens and ends before a stop string. `stop_reason`: "stop" at a stop token or string,
    "length" after max_tokens or with a full context. `top`: for each token the likeliest ones (id, log-probability), if
    `Sampling.top_logprobs` is set. `score`: ranking score of a search.
    """

    text: str
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    stop_reason: StopReason = "length"
    top: list[tuple[tuple[int, float], ...]] = field(default_factory=list)
    score: float | None = None
