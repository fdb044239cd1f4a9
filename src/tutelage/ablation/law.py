"""What a ladder of runs shows: the laws of parameters and data and of compute, a held-out check, and the best size for
a time on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tutelage.ablation.ladder import Ladder, LadderRun
from tutelage.pretraining.rules import FREE_PASSES
from tutelage.pretraining.scaling import Law, Point, Predicted, draws, effective_data, fit, predict

LEVEL = 0.9
TIMES = (600.0, 3600.0, 8 * 3600.0)  # seconds: ten minutes, an hour, a night
LARGEST = 16.0  # times the ladder's largest model; larger ones are not considered
BEYOND = 4.0  # times the ladder's largest model or data; further is extrapolation, and labelled so
FORMAT = 1
DRAWS = 50
_SIZES = 60  # among which the best size is searched


@dataclass(frozen=True)
class Fitted:
    """A law with draws of other laws that fit the runs as well."""

    law: Law
    drawn: tuple[Law, ...]

    @classmethod
    def to(cls, points: Sequence[Point]) -> Fitted:
        law = fit(points)
        return cls(law, tuple(draws(law, points, DRAWS)))

    def predict(self, *sizes: float) -> Predicted:
        return predict(self.law, self.drawn, sizes, LEVEL)


@dataclass(frozen=True)
class Check:
    """The run with the most compute against the law of all others: whether the ladder extrapolates one
    step."""

    run: LadderRun
    predicted: Predicted

    @property
    def passed(self) -> bool:
        return self.predicted.holds(self.run.bits_per_byte)


@dataclass(frozen=True)
class Best:
    """The size that is expected to be best after this many seconds of training here. `beyond`: outside the ladder.
    `text_ends`: four passes over the text take less time."""

    seconds: float
    parameters: float
    tokens: float
    bits: Predicted
    beyond: bool
    text_ends: bool


@dataclass(frozen=True)
class Findings:
    """All findings of the ladder. `compute`: of the compute-optimal runs; None if they are too
    few."""

    ladder: Ladder
    joint: Fitted
    compute: Fitted | None
    check: Check
    best: tuple[Best, ...]


def findings(ladder: Ladder) -> Findings:
    """Fit the laws, check them on the largest run, and derive what they mean for this machine."""
    largest = ladder.runs[-1]
    others = Fitted.to([run.point for run in ladder.runs if run is not largest])
    check = Check(largest, others.predict(*largest.point.sizes))
    joint = Fitted.to([run.point for run in ladder.runs])
    front = frontier(ladder.runs)
    compute = Fitted.to([Point((run.flops,), run.bits_per_byte) for run in front]) if len(front) > 2 else None
    return Findings(ladder, joint, compute, check, tuple(best_for(seconds, joint, ladder.runs) for seconds in TIMES))


def frontier(runs: Sequence[LadderRun]) -> list[LadderRun]:
    """Runs that no other run matches with less compute."""
    found: list[LadderRun] = []
    for run in sorted(runs, key=lambda one: (one.flops, one.bits_per_byte)):
        if not found or run.bits_per_byte < found[-1].bits_per_byte:
            found.append(run)
    return found


def best_for(seconds: float, joint: Fitted, runs: Sequence[LadderRun]) -> Best:
    """The size with the lowest expected loss, where the time per token grows with the parameters, by a power law
    through the measured speeds. Repeated text counts less and is read at most four times, and a model sees at least
    one token per parameter."""
    unique = runs[0].tokens / runs[0].passes
    slope, offset = np.polyfit(
        np.log([run.parameters for run in runs]), np.log([run.seconds / run.tokens for run in runs]), 1
    )
    largest, most = max(run.parameters for run in runs), FREE_PASSES * unique
    sizes = np.geomspace(min(run.parameters for run in runs) / 2, LARGEST * largest, _SIZES)
    tokens = np.minimum(seconds / np.exp(offset + slope * np.log(sizes)), most)
    losses = [joint.law.loss(size, effective_data(unique, seen)) for size, seen in zip(sizes, tokens, strict=True)]
    at = int(np.argmin(np.where(tokens >= sizes, losses, np.inf)))  # the smallest, where no size sees enough
    size, seen = float(sizes[at]), float(tokens[at])
    fresh = effective_data(unique, seen)
    beyond = size > BEYOND * largest or fresh > BEYOND * max(run.fresh for run in runs)
    return Best(seconds, size, seen, joint.predict(size, fresh), beyond, seen >= most)


def optimal_share(law: Law) -> float:
    """The exponent with which the best number of parameters grows with compute: b / (a + b) (Hoffmann et al. 2022, eq.
    4)."""
    of_parameters, of_data = law.exponents
    return of_data / (of_parameters + of_data)


def interval(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def plain(found: Findings) -> dict[str, Any]:
    """Everything, JSON-ready."""
    return {
        "format": FORMAT,
        "name": found.ladder.name,
        "level": LEVEL,
        "runs": [asdict(run) for run in found.ladder.runs],
        "law": _law(found.joint, ("parameters", "tokens")),
        "compute": _law(found.compute, ("flops",)) if found.compute else None,
        "optimal_share": [optimal_share(found.joint.law), *interval([optimal_share(one) for one in found.joint.drawn])],
        "check": {**asdict(found.check), "passed": found.check.passed},
        "best": [asdict(one) for one in found.best],
        "stages_run": found.ladder.started,
    }


def sentences(found: dict[str, Any]) -> list[str]:
    """The findings in sentences, from `plain`, the check first, for those who read only one line."""
    check, law, best = found["check"], found["law"], found["best"]
    told, run = check["predicted"], check["run"]
    verdict = "inside the range" if check["passed"] else "OUTSIDE the range: do not extrapolate from this ladder"
    lines = [
        f"Held-out check: the largest run came to {run['bits_per_byte']:.4f} bits per byte; the others predicted "
        f"{told['middle']:.4f} ({told['low']:.4f} to {told['high']:.4f}): {verdict}.",
        f"L(N, D) = {_number(law['floor'])} + {_term(law, 0, 'N')} + {_term(law, 1, 'D')}, "
        f"scatter {law['scatter']:.2%}.",
        f"The best number of parameters grows with compute to the power of {_number(found['optimal_share'])}.",
    ]  # fmt: skip
    if found["compute"]:
        compute = found["compute"]
        lines.append(f"L(C) = {_number(compute['floor'])} + {_term(compute, 0, 'C')}, over the compute-optimal runs.")
    for one in best:
        far = "; extrapolated beyond the ladder" if one["beyond"] else ""
        far += "; the text runs out before the time" if one["text_ends"] else ""
        bits = one["bits"]
        lines.append(
            f"{_time(one['seconds'])} here: {one['parameters'] / 1e6:.2f}M multiplied parameters, "
            f"{one['tokens'] / 1e6:.1f}M tokens, {bits['middle']:.3f} ({bits['low']:.3f} to {bits['high']:.3f}){far}."
        )
    return lines


def _law(fitted: Fitted, names: tuple[str, ...]) -> dict[str, Any]:
    """A law with the interval of each of its numbers: [value, low, high]."""
    law, drawn = fitted.law, fitted.drawn
    return {
        "of": list(names),
        "floor": [law.floor, *interval([one.floor for one in drawn])],
        "scales": list(law.scales),
        "factors": list(law.factors),
        "exponents": [
            [value, *interval([one.exponents[at] for one in drawn])] for at, value in enumerate(law.exponents)
        ],
        "scatter": law.scatter,
    }


def _number(told: Sequence[float]) -> str:
    return f"{told[0]:.2f} [{told[1]:.2f}, {told[2]:.2f}]"


def _term(law: dict[str, Any], at: int, name: str) -> str:
    return f"{law['factors'][at]:.3f} ({name} / {law['scales'][at]:.3g})^-{_number(law['exponents'][at])}"


def _time(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.0f} h"
