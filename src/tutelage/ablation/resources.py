"""The same runs judged by what they cost: better per step, per second, per parameter?

At equal cost the paired verdict stands. At unequal cost an arm that is no worse and cheaper is better for that cost,
and one that is no better and more expensive is worse. Where quality and cost pull in different directions, the
question is what the other arm would gain by spending the difference too. An upper bound of that comes from the runs
themselves: how much the validation loss fell over the last doubling of the steps. During learning-rate decay a curve
drops faster than the final losses of two runs of different length differ, so a difference beyond that bound decides;
below it the question is open.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tutelage.ablation.judge import Paired
from tutelage.ablation.runs import seconds_of
from tutelage.store.artifacts import Artifact

Per = Literal["better", "worse", "not distinguishable", "cheaper", "dearer", "open", "too few seeds"]
EQUAL = 0.01  # steps, tokens, parameters: up to this much they count as the same
STEADY = 0.05  # the same of seconds


@dataclass(frozen=True)
class Cost:
    """What the runs of an arm cost. seconds: of training, of the fastest run: other load makes runs slower, never
    faster. slowest: how busy the machine was. doubling: bits per byte gained by the last doubling of the steps, at
    most; None: too few validations.
    """

    steps: int
    tokens: int
    parameters: int
    seconds: float
    slowest: float
    doubling: float | None

    def plain(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class PerCost:
    """The verdict per unit of a cost, and its basis. ratio: cost of the arm over that of the first."""

    outcome: Per
    ratio: float
    why: str = ""


def cost_of(models: Sequence[Artifact]) -> Cost:
    """From the finished models of one arm."""
    seconds = [seconds_of(model) for model in models]
    metrics = models[0].metrics
    doublings = [found for model in models if (found := doubling(model.path / "curve.jsonl")) is not None]
    parameters = metrics.get("parameters") or 0
    return Cost(
        int(metrics.get("steps", 0)), int(metrics.get("tokens_seen", 0)), int(parameters), min(seconds), max(seconds),
        max(doublings) if doublings else None,
    )  # fmt: skip


def doubling(curve: Path) -> float | None:
    """Fall of the validation, in bits per byte, from half of the steps to the last ones; None without such points."""
    if not curve.is_file():
        return None
    points = [json.loads(line) for line in curve.read_text(encoding="utf-8").splitlines()]
    found = [(point["step"], point["validation"].get("bits_per_byte")) for point in points if "validation" in point]
    found = [(step, bits) for step, bits in found if bits is not None]
    if len(found) < 2:
        return None
    last_step, last = found[-1]
    step, bits = min(found[:-1], key=lambda one: abs(math.log(max(1, one[0]) * 2 / last_step)))
    if not 0.25 <= step / last_step <= 0.75:
        return None
    return max(0.0, float(bits - last)) / math.log2(last_step / step)


Which = Literal["step", "token", "second", "parameter"]


def unsteadiness(costs: Iterable[Cost]) -> float:
    """The largest ratio of the slowest to the fastest run of one arm: how busy the machine was, 1 if not at all."""
    return max((one.slowest / max(one.seconds, 1e-9) for one in costs), default=1.0)


def per_cost(
    paired: Paired, arm: Cost, first: Cost, which: Which, match: str = "steps", others: Iterable[Cost] = ()
) -> PerCost:
    """The verdict on the arm per unit of one cost. `match`: what is equal for all arms. `others`: costs of all
    arms, which tell by how much the same work differed in time."""
    ratio, same = _ratio(arm, first, which)
    same = same or match == f"{which}s"
    outcome = paired.outcome
    if outcome in ("failed", "too few seeds", "too few items"):
        return PerCost("worse" if outcome == "failed" else "too few seeds", ratio)
    if same:
        return PerCost(outcome, ratio)  # type: ignore[arg-type]
    unsteady = unsteadiness((arm, first, *others))
    if which == "second" and 1 / unsteady <= ratio <= unsteady:
        return PerCost("open", ratio, f"the runs of one arm differ as much in time, up to {unsteady:.2f} times")
    if outcome == "not distinguishable":
        return PerCost(
            "cheaper" if ratio < 1 else "dearer", ratio, "as good for less" if ratio < 1 else "no better for more"
        )
    if (outcome == "better") == (ratio < 1):
        return PerCost(outcome, ratio)  # type: ignore[arg-type]
    return _exchange(paired, arm, first, ratio, which)


def _exchange(paired: Paired, arm: Cost, first: Cost, ratio: float, which: str) -> PerCost:
    """Better and more expensive, or worse and cheaper: whether the difference is more than the cost could buy
    elsewhere."""
    better = paired.outcome == "better"
    sure = min(abs(paired.low or 0.0), abs(paired.high or 0.0))
    each = abs(paired.difference) / abs(math.log2(ratio))
    said = f"{abs(paired.difference):.3f} for {ratio:.2f} times the cost: {each:.3f} a doubling"
    spender = first if better else arm
    if which == "parameter" or spender.doubling is None:
        return PerCost("open", ratio, said)
    bound = spender.doubling * abs(math.log2(ratio))
    if sure > bound:
        return PerCost(
            "better" if better else "worse", ratio, f"{said}, more training alone brings at most {spender.doubling:.3f}"
        )
    return PerCost("open", ratio, f"{said}, more training alone may bring as much; --match seconds decides")


def _ratio(arm: Cost, first: Cost, which: str) -> tuple[float, bool]:
    """Cost of the arm over that of the first, and whether it counts as the same."""
    if which == "second":
        ratio = arm.seconds / max(first.seconds, 1e-9)
        return ratio, abs(ratio - 1) <= STEADY
    ours, theirs = {"step": (arm.steps, first.steps), "token": (arm.tokens, first.tokens),
                    "parameter": (arm.parameters, first.parameters)}[which]  # fmt: skip
    ratio = ours / theirs if theirs else 1.0
    return ratio, abs(ratio - 1) <= EQUAL
