"""What a language model says to its callers: scores and answers."""

from __future__ import annotations

from dataclasses import dataclass, field

from tutelage.inference.sequences import StopReason


@dataclass(frozen=True)
class Score:
    """How likely a continuation is: natural-log probability, over how many tokens, and whether greedy gives it."""

    logprob: float
    num_tokens: int
    is_greedy: bool


@dataclass(frozen=True)
class Generation:
    """An answer. `ids` are all ids that were generated, the stop token included; `logprobs` one for each.

    `text` is without control tokens and ends before a stop string. `stop_reason`: "stop" at a stop token or
    string, "length" after max_tokens or where the context was full.
    `top`: for each token the likeliest ones (id, log-probability), where `Sampling.top_logprobs` asks for them.
    `score`: what a search ranked it by.
    """

    text: str
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    stop_reason: StopReason = "length"
    top: list[tuple[tuple[int, float], ...]] = field(default_factory=list)
    score: float | None = None
