"""Self-test of the statistics: simulated data with a known truth, through the functions that evaluation uses.

Coverage of the intervals, false positives among equals, power for a planted effect, correction of a planted judge bias.
Every draw is seeded, so the figures are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.evaluation.clusters import clustered_difference, ratio_interval, share_interval
from tutelage.evaluation.compare.corrections import holm
from tutelage.evaluation.judging.bias import corrected_rate, length_controlled, win_rates
from tutelage.evaluation.shares import paired_shares
from tutelage.evaluation.statistics import (
    Interval,
    bootstrap_mean,
    detectable_difference,
    mcnemar,
    paired_difference,
    wilson,
)
from tutelage.evaluation.verdicts import did_not_suffer, verdict

Generator = np.random.Generator
Floats = NDArray[np.float64]
_DRAWS = 400
_TRIALS = {10: 2000, 50: 1500, 300: 1000}
_SKEWED = "exponential values; for small samples of skewed data every known interval covers too seldom"


@dataclass(frozen=True)
class Check:
    """One simulated figure, a share of trials. passed: within [low, high], or None if it is only reported.

    error: standard error of the simulation itself; false positives may exceed 5 % by 2.5 of these.
    """

    name: str
    n: int
    found: float
    low: float
    high: float
    trials: int
    passed: bool | None
    text: str

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def self_test(scale: float = 1.0, seed: int = 0) -> Iterator[Check]:
    """Run and yield every check, with `scale` times the default trials."""
    trials = {n: max(50, round(count * scale)) for n, count in _TRIALS.items()}
    for name, cover in _COVERAGE.items():
        for n, count in trials.items():
            yield _coverage(name, n, _share(cover, n, count, seed), count)
    for n in (10, 50):
        found = _share(_skewed, n, trials[n], seed)
        yield _said(f"95 % interval of a mean, n = {n}: covers {found:.1%} of {_SKEWED}", n, found, trials[n])
    for name, wins, sizes in _ALIKE:
        for n in sizes:
            yield _false(name, n, _share(wins, n, trials[n], seed), trials[n])
    for name, finds, sizes in _PLANTED:
        for n in sizes:
            found = _share(finds, n, trials[n], seed)
            text = f"{name}, n = {n}: found in {found:.1%}, stated 80 % (75 to 86 %)"
            yield Check(name, n, found, 0.75, 0.86, trials[n], 0.75 <= found <= 0.86, text)
    yield from _judges(trials, seed)


Trial = Callable[[Generator, int, int], bool]


def _share(trial: Trial, n: int, count: int, seed: int) -> float:
    generator = np.random.default_rng([seed, n])
    return float(np.mean([trial(generator, n, at) for at in range(count)]))


def _covers(interval: Interval, truth: float) -> bool:
    assert interval.low is not None and interval.high is not None
    return interval.low <= truth <= interval.high


def _mean(generator: Generator, n: int, at: int) -> bool:
    return _covers(bootstrap_mean(generator.normal(3, 2, n), draws=_DRAWS, seed=at), 3)


def _skewed(generator: Generator, n: int, at: int) -> bool:
    return _covers(bootstrap_mean(generator.exponential(1, n), draws=_DRAWS, seed=at), 1)


def _proportion(generator: Generator, n: int, at: int) -> bool:
    truth = generator.uniform(0.05, 0.95)
    return _covers(wilson(float(generator.binomial(n, truth)), n), truth)


def _gain(generator: Generator, n: int, at: int) -> bool:
    """The difference of two shares of the same items, of which 2 to 40 % differ between the systems."""
    moved = generator.uniform(0.02, 0.4)
    gain = generator.uniform(-1, 1) * moved
    found = paired_shares(*_answers(generator, n, gain, moved), draws=_DRAWS, seed=at)[0]
    return _covers(Interval(found.value, found.low, found.high), 100 * gain)


def _packages(generator: Generator, n: int) -> tuple[list[str], NDArray[np.int64]]:
    """n clusters of uneven size: the cluster of each item, and its number."""
    of = np.repeat(np.arange(n), np.maximum(1, generator.lognormal(1.2, 0.6, n)).astype(int))
    return [str(one) for one in of], of


def _clustered_mean(generator: Generator, n: int, at: int) -> bool:
    names, of = _packages(generator, n)
    values = generator.normal(0, 1, n)[of] + generator.normal(0, 1, len(of))
    return _covers(ratio_interval(values, np.ones(len(of)), names, draws=_DRAWS, seed=at), 0)


def _bits(generator: Generator, n: int, at: int) -> bool:
    """Documents of very uneven length with normal bits per byte."""
    size = np.maximum(1, generator.lognormal(5, 0.8, n))
    rate = generator.normal(2, 0.3, n)
    return _covers(ratio_interval(rate * size, size, None, draws=_DRAWS, seed=at), 2)


def _clustered_share(generator: Generator, n: int, at: int) -> bool:
    """Half of the items of a cluster share its outcome, the others are independent."""
    names, of = _packages(generator, n)
    truth = generator.uniform(0.1, 0.9)
    together = generator.random(n)[of]
    right = np.where(generator.random(len(of)) < 0.5, together, generator.random(len(of))) < truth
    return _covers(share_interval(right, names), truth)


_COVERAGE: dict[str, Trial] = {
    "a mean": _mean,
    "a share (of 5 to 95 %)": _proportion,
    "a paired difference of shares": _gain,
    "bits per byte, documents of uneven length": _bits,
    "a mean, items in n clusters": _clustered_mean,
    "a share, items in n clusters": _clustered_share,
}

_CAUTIOUS = {("a paired difference of shares", 10)}


def _coverage(name: str, n: int, found: float, trials: int) -> Check:
    high = 1.0 if (name, n) in _CAUTIOUS else 0.97
    asked = "93 to 97 %" if high < 1 else "93 % or more: of ten items few differ at all"
    text = f"95 % interval of {name}, n = {n}: covers {found:.1%} ({asked})"
    return Check(f"coverage: {name}", n, found, 0.93, high, trials, 0.93 <= found <= high, text)


def _said(text: str, n: int, found: float, trials: int) -> Check:
    return Check("known limit", n, found, 0.0, 1.0, trials, None, text)


def _false(name: str, n: int, found: float, trials: int) -> Check:
    limit = 0.05 + 2.5 * (0.05 * 0.95 / trials) ** 0.5
    text = f"false winners, {name}, n = {n}: {found:.1%} (at most 5 %; {limit:.1%} with {trials} trials)"
    return Check(f"false winners: {name}", n, found, 0.0, limit, trials, found <= limit, text)


def _won(difference: Any, shares: bool = False) -> bool:
    return verdict("a", "b", difference, shares=shares).outcome in ("better", "worse")


def _means_alike(generator: Generator, n: int, at: int) -> bool:
    hard = generator.normal(0, 3, n)
    a, b = hard + generator.normal(0, 1, n), hard + generator.normal(0, 1, n)
    return _won(paired_difference(a, b, draws=_DRAWS, seed=at))


def _answers(generator: Generator, n: int, gain: float = 0.0, moved: float = 0.2) -> tuple[Floats, Floats]:
    """Two systems that disagree on a share `moved` of the items; the first is right more often by `gain`."""
    kind = generator.random(n)
    common = (generator.random(n) < 0.5) * 1.0
    a = np.where(kind < moved, kind < (moved + gain) / 2, common) * 1.0
    b = np.where(kind < moved, kind >= (moved + gain) / 2, common) * 1.0
    return a, b


def _shares_differ(a: Floats, b: Floats, at: int) -> bool:
    return _won(paired_shares(a, b, draws=_DRAWS, seed=at)[0], shares=True)


def _shares_alike(generator: Generator, n: int, at: int) -> bool:
    return _shares_differ(*_answers(generator, n), at)


def _packages_alike(generator: Generator, n: int, at: int) -> bool:
    names, of = _packages(generator, n)
    delta = generator.normal(0, 1, n)[of] + generator.normal(0, 1, len(of))
    return _won(clustered_difference(delta, np.zeros(len(of)), names, draws=_DRAWS, seed=at))


def _ten_tasks(generator: Generator, n: int, at: int) -> bool:
    """Whether any of ten tasks between equals has a winner after Holm's correction."""
    return min(holm([mcnemar(*_answers(generator, n)) for _ in range(10)])) < 0.05


def _suffered(generator: Generator, n: int, at: int) -> bool:
    """Whether a loss equal to the margin counts as "did not suffer"."""
    delta = generator.normal(-1, 3, n)
    return did_not_suffer("a", "b", paired_difference(delta, np.zeros(n), draws=_DRAWS, seed=at), 1.0).claim == (
        "did not suffer"
    )


_ALIKE: tuple[tuple[str, Trial, tuple[int, ...]], ...] = (
    ("paired means of equals", _means_alike, (10, 50, 300)),
    ("paired shares of equals", _shares_alike, (10, 50, 300)),
    ("equals, items in n clusters", _packages_alike, (10, 50, 300)),
    ("any of ten tasks of equals (Holm)", _ten_tasks, (50, 300)),
    ("did not suffer at a loss of the margin", _suffered, (10, 50, 300)),
)


def _mean_found(generator: Generator, n: int, at: int) -> bool:
    delta = generator.normal(detectable_difference(1.0, n), 1, n)
    return _won(paired_difference(delta, np.zeros(n), draws=_DRAWS, seed=at))


def _share_found(generator: Generator, n: int, at: int) -> bool:
    moved = 0.3
    gain = detectable_difference(moved**0.5, n)  # standard deviation of the differences without a planted gain
    return _shares_differ(*_answers(generator, n, gain, moved), at)


_PLANTED: tuple[tuple[str, Trial, tuple[int, ...]], ...] = (
    ("planted difference of means, of the detectable size", _mean_found, (50, 300)),
    ("planted difference of shares, of the detectable size", _share_found, (300,)),
)


def _judges(trials: dict[int, int], seed: int) -> Iterator[Check]:
    """A judge biased towards long answers and the first position, corrected by length control or by human votes."""
    n, people = 200, 50
    count = max(50, trials[300] // 3)
    generator = np.random.default_rng([seed, 99])
    truth = float(_chance(0.2 + generator.normal(0, 0.5, 200_000)).mean())
    raw, controlled, mended, hit, hit_mended = [], [], [], 0, 0
    for _ in range(count):
        a, b = generator.lognormal(5.3, 0.5, n), generator.lognormal(5.0, 0.5, n)
        longer = np.tanh((a - b) / (a - b).std())
        better = 0.2 + generator.normal(0, 0.5, n)
        chance = np.column_stack([_chance(better + 1.2 * longer + 0.3), _chance(better + 1.2 * longer - 0.3)])
        outcomes = (generator.random((n, 2)) < chance) * 1.0
        found = length_controlled(outcomes, a, b, judges=0)
        assert found is not None
        raw.append(found.raw)
        controlled.append(found.rate.value)
        hit += _covers(found.rate, truth)
        votes = (generator.random(n) < _chance(better)) * 1.0
        judged = win_rates(outcomes)
        sample = generator.permutation(n)[:people]
        interval = corrected_rate(judged, judged[sample], votes[sample])
        mended.append(interval.value)
        hit_mended += _covers(interval, truth)
    for name, values, hits in (
        ("length-controlled win rate", controlled, hit),
        (f"win rate corrected by {people} human votes", mended, hit_mended),
    ):
        off, covered = float(np.mean(values)) - truth, hits / count
        text = (
            f"judge with a planted bias for long answers, n = {n}: raw {np.mean(raw):.1%}, {name} "
            f"{np.mean(values):.1%}, true {truth:.1%} (within 1 point); its 95 % interval covers {covered:.1%}"
        )
        passed = abs(off) <= 0.01 and 0.92 <= covered <= 0.98
        yield Check(f"planted judge bias: {name}", n, covered, 0.92, 0.98, count, passed, text)


def _chance(values: Any) -> Floats:
    return np.asarray(1 / (1 + np.exp(-values)), dtype=np.float64)
