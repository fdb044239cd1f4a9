"""Several answers to one prompt: best of n, and majority vote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tutelage.inference.sampling import Sampling
from tutelage.store.errors import ConfigError

if TYPE_CHECKING:
    from tutelage.inference.results import Generation

Generate = Callable[[list[Any], Sampling], "list[Generation]"]


@dataclass(frozen=True)
class Majority:
    """The most frequent answer and its share of all generations; None if none contains an answer."""

    answer: Any
    share: float
    votes: dict[Any, int]
    generations: list[Generation]


def best_of(generate: Generate, prompt: str | Sequence[int], n: int, sampling: Sampling) -> list[Generation]:
    """`n` answers, best first by mean token log-probability (the model's own)."""
    _check(n, sampling)
    made = generate([prompt] * n, sampling)
    return sorted(made, key=lambda one: -sum(one.logprobs) / len(one.logprobs))


def self_consistency(
    generate: Generate,
    prompt: str | Sequence[int],
    n: int,
    extract: Callable[[str], Hashable | None],
    sampling: Sampling,
) -> Majority:
    """The most frequent result of `extract` (None: no answer) over `n` answers; ties go to the first one. Wang et al.
    2023, "Self-consistency improves chain of thought reasoning".
    """
    _check(n, sampling)
    made = generate([prompt] * n, sampling)
    votes = Counter(answer for one in made if (answer := extract(one.text)) is not None)
    if not votes:
        return Majority(None, 0.0, {}, made)
    ((answer, count),) = votes.most_common(1)
    return Majority(answer, count / n, dict(votes), made)


def _check(n: int, sampling: Sampling) -> None:
    if n < 1:
        raise ConfigError(f"n must be at least 1, got {n}")
    if n > 1 and sampling.temperature == 0:
        raise ConfigError("several answers at temperature 0 are all equal", hint="set a temperature, e.g. 0.7")
