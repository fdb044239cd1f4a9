"""Several answers to one prompt: the best of them, and the one that most agree on."""

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
    """The answer that most of the generations gave, and their share of all; None where none gave an answer."""

    answer: Any
    share: float
    votes: dict[Any, int]
    generations: list[Generation]


def best_of(generate: Generate, prompt: str | Sequence[int], n: int, sampling: Sampling) -> list[Generation]:
    """`n` answers, the best first: by the mean log-probability of their tokens (the model's own)."""
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
    """The most frequent of what `extract` finds in the texts of `n` answers (None: no answer). Of equally frequent ones
    the one that came first. Wang et al. 2023, "Self-consistency improves chain of thought reasoning".
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
        raise ConfigError("several answers at temperature 0 are all the same", hint="set a temperature, e.g. 0.7")
