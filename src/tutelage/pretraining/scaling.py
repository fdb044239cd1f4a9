"""Scaling laws: how held-out loss falls with size and data, fitted to your own runs, with uncertainty.

    L(x_1, x_2, ...) = E + sum_j A_j (x_j / s_j)^(-a_j)

With (parameters, data) this is Hoffmann et al. 2022 (Chinchilla), equation 2; with compute alone, Kaplan et al. 2020
with a floor. As there (appendix D.2), log L is fitted by a Huber loss.

A few small runs do not determine E and every exponent. So there is a weak prior: each exponent about 0.3 (Hoffmann et
al. find 0.34 and 0.28) plus or minus 0.15, the floor about half of the lowest loss, within a factor of 1.6. Draws of
the law perturb the runs by their scatter and the prior by its own width, and fit again: if the runs do not determine
a number, the draws spread, and so does the range of a prediction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

EXPONENT, EXPONENT_WIDTH = 0.3, 0.15
FLOOR_SHARE, FLOOR_WIDTH = 0.5, 0.5  # of the lowest loss; width in log
LEAST_SCATTER = 0.003  # of log loss: the effect of seeds alone
FIRST_SCATTER = 0.02  # of log loss, before it is estimated from the runs
HUBER, OUTLIER = 2.0, 3.0  # scatters: from where a run is down-weighted, and beyond which its size no longer counts
REPEAT = 15.39  # R* of Muennighoff et al. 2023: passes after which a repeated text has lost 1 - 1/e of its value

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """A run: its sizes (parameters, data, ... in the order of the law's terms), and its held-out loss."""

    sizes: tuple[float, ...]
    loss: float


@dataclass(frozen=True)
class Law:
    """L = floor + sum of factors * (size / scale)^-exponent. `scatter`: of log loss around it."""

    floor: float
    scales: tuple[float, ...]
    factors: tuple[float, ...]
    exponents: tuple[float, ...]
    scatter: float = 0.0

    def loss(self, *sizes: float) -> float:
        return self.floor + sum(
            factor * (size / scale) ** -exponent
            for size, scale, factor, exponent in zip(sizes, self.scales, self.factors, self.exponents, strict=True)
        )

    def plain(self) -> dict[str, Any]:
        return {"floor": self.floor, "scales": self.scales, "factors": self.factors, "exponents": self.exponents,
                "scatter": self.scatter}  # fmt: skip


@dataclass(frozen=True)
class Predicted:
    """An expected loss, with the ends of a range."""

    middle: float
    low: float
    high: float

    def holds(self, loss: float) -> bool:
        return self.low <= loss <= self.high


def effective_data(unique: float, seen: float) -> float:
    """Amount of fresh data equivalent to `seen` data of which `unique` are distinct, in the same unit.

    U + U R* (1 - exp(-R / R*)) with R repeats (Muennighoff et al. 2023, equation 5).
    """
    if seen <= unique:
        return seen
    return unique * (1 + REPEAT * (1 - math.exp(-(seen / unique - 1) / REPEAT)))


def fit(points: Sequence[Point]) -> Law:
    """The law of these runs. Raises ValueError for fewer than three, or if they differ in their number of sizes."""
    if len(points) < 3 or len({len(point.sizes) for point in points}) != 1:
        raise ValueError("a scaling law is fitted to three runs or more, each with the same sizes")
    centre = _centre(points)
    law = _fitted(points, np.log([point.loss for point in points]), centre, FIRST_SCATTER, None)
    scatter = _scatter(law, points)
    return _fitted(points, np.log([point.loss for point in points]), centre, scatter, law)


def draws(law: Law, points: Sequence[Point], count: int = 100, seed: int = 0) -> list[Law]:
    """Laws that fit these runs as well as `law` does: each fitted to runs perturbed by the scatter, with the prior
    perturbed by its width (randomize-then-optimize, Bardsley et al. 2014)."""
    random = np.random.default_rng(seed)
    losses, centre = np.log([point.loss for point in points]), _centre(points)
    width = np.array([FLOOR_WIDTH, *(EXPONENT_WIDTH for _ in law.exponents)])
    return [
        _fitted(points, losses + law.scatter * random.standard_normal(len(points)),
                centre + width * random.standard_normal(len(width)), law.scatter, law)
        for _ in range(count)
    ]  # fmt: skip


def predict(
    law: Law, drawn: Sequence[Law], sizes: Sequence[float], level: float = 0.9, beside: float = 0.0, seed: int = 0
) -> Predicted:
    """The loss of a run of these sizes that was not among those fitted. `beside`: further scatter of log loss (from
    another text, say)."""
    random = np.random.default_rng(seed)
    noise = math.hypot(law.scatter, beside)
    losses = np.array([one.loss(*sizes) for one in drawn])
    # Several noise samples per draw of the law, so that the ends do not depend on a few numbers.
    spread = (losses[:, None] * np.exp(noise * random.standard_normal((len(losses), 20)))).ravel()
    low, high = np.quantile(spread, [(1 - level) / 2, (1 + level) / 2])
    middle = law.loss(*sizes)
    return Predicted(middle, min(float(low), middle), max(float(high), middle))


def enlarged(freedom: float) -> float:
    """How much wider Student's t is than the normal at 90 %: to account for a scatter estimated from few numbers."""
    from scipy.stats import norm, t

    return float(t.ppf(0.95, freedom) / norm.ppf(0.95))


def _centre(points: Sequence[Point]) -> Array:
    """Middle of the prior: log of the floor, then the exponents."""
    floor = math.log(FLOOR_SHARE * min(point.loss for point in points))
    return np.array([floor, *(EXPONENT for _ in points[0].sizes)])


def _fitted(points: Sequence[Point], losses: Array, centre: Array, scatter: float, near: Law | None) -> Law:
    """Least squares of log loss over (log floor, exponents, log factors), by Huber, with the prior as residuals."""
    from scipy.optimize import least_squares  # late: predictions need no fit, and scipy takes much memory

    sizes = np.log([point.sizes for point in points])
    scales = sizes.mean(axis=0)
    terms = sizes.shape[1]
    width = np.array([FLOOR_WIDTH, *(EXPONENT_WIDTH for _ in range(terms))])

    def residuals(x: Array) -> Array:
        floor, exponents, factors = x[0], x[1 : 1 + terms], x[1 + terms :]
        loss = np.exp(floor) + np.exp(factors - (sizes - scales) * exponents).sum(axis=1)
        data = (np.log(loss) - losses) / scatter
        far = np.maximum(np.abs(data), HUBER)
        huber = np.where(np.abs(data) < HUBER, data, np.sign(data) * np.sqrt(2 * HUBER * far - HUBER**2))
        return np.concatenate([huber, (x[: 1 + terms] - centre) / width])

    lowest = float(np.exp(losses.min()))
    if near is None:
        begin = np.array([*centre, *(math.log(lowest / 4) for _ in range(terms))])
    else:
        begin = np.array([math.log(near.floor), *near.exponents, *np.log(near.factors)])
    low = np.array([-9.0, *(0.01 for _ in range(terms)), *(-14.0 for _ in range(terms))])
    high = np.array([math.log(lowest), *(2.0 for _ in range(terms)), *(6.0 for _ in range(terms))])
    found = least_squares(residuals, np.clip(begin, low + 1e-6, high - 1e-6), bounds=(low, high)).x
    return Law(
        float(np.exp(found[0])), tuple(map(float, np.exp(scales))), tuple(map(float, np.exp(found[1 + terms :]))),
        tuple(map(float, found[1 : 1 + terms])), scatter,
    )  # fmt: skip


def _scatter(law: Law, points: Sequence[Point]) -> float:
    """Standard deviation of log loss around the law, with the degrees of freedom reduced by the fitted numbers, and
    enlarged as Student's t is compared with the normal: so few runs say little about their own scatter. An outlier
    counts as three of the others' scatters."""
    residuals = np.abs([math.log(point.loss / law.loss(*point.sizes)) for point in points])
    typical = 1.4826 * float(np.median(residuals))
    clipped = np.minimum(residuals, max(OUTLIER * typical, LEAST_SCATTER))
    freedom = max(2.0, len(points) - (1 + 2 * len(law.exponents)))
    return max(LEAST_SCATTER, enlarged(freedom) * math.sqrt(float((clipped**2).sum()) / freedom))
