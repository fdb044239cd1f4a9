"""The findings of an ablation as plain data: `ablation.json`, the printed lines, and the exit code."""

from __future__ import annotations

import math
from typing import Any

from tutelage.ablation.bench import Findings, Trial
from tutelage.ablation.grid import grid
from tutelage.ablation.judge import CONFIDENCE, Noise, deviation_range, seeds_needed
from tutelage.ablation.resources import Which, per_cost, unsteadiness

FOUND, NOTHING, TOO_FEW = 0, 3, 4
COSTS: tuple[Which, ...] = ("step", "token", "second", "parameter")
FORMAT = 2
BUSY = 1.5


def plain(found: Findings) -> dict[str, Any]:
    """Everything, JSON-ready. Differences are arm minus first, in the unit of `measure`: below zero is better."""
    question, first = found.question, found.trials[0]
    base = found.scores[first.arm.name]
    effect = question.effect * float(base.per_byte.mean())
    arms = [_arm(trial, found, effect) for trial in found.trials]
    varied = grid(arms)
    code = exit_code([arm["outcome"] for arm in arms[1:]])
    return {
        "format": FORMAT,
        "question": question.name,
        "of": question.target,
        "match": question.match,
        "measure": found.items.measure,
        "first": first.arm.name,
        "seeds_planned": question.seeds,
        "effect": question.effect,
        "confidence": CONFIDENCE,
        "items": len(found.items.rows),
        "units": base.bits.shape[1],
        "unit": found.items.units,
        "heldout_bytes": sum(found.items.sizes) if found.items.measure == "bits per byte" else None,
        "items_left_out": found.items.left_out,
        "items_cut": found.items.cut,
        "noise": noise_plain(found.noise, question.effect, found.tried) if found.noise else None,
        "arms": arms,
        "grid": varied,
        "tried": found.tried,
        "stages_run": found.started,
        "busy": _busy(found),
        "overall": overall(arms, found.tried, question.effect),
        "covers": COVERS.format(unit=found.items.units),
        "code": code,
    }


COVERS = (
    "Intervals are for new training seeds and new {unit} of this kind; not for another order of the data, another size "
    "of model or other text."
)


def noise_plain(noise: Noise, effect: float, tried: int) -> dict[str, Any]:
    """The noise floor and the seeds that an effect of this share needs, with the range of both."""
    wanted = effect * noise.mean
    low, high = deviation_range(noise)
    return {
        "values": [round(value, 6) for value in noise.values],
        "mean": noise.mean,
        "deviation": noise.deviation,
        "deviation_range": [low, high],
        "single_run": noise.single,
        "seeds_needed": seeds_needed(noise.deviation, noise, wanted, tried),
        "seeds_needed_range": [seeds_needed(one, noise, wanted, tried) for one in (low, high)],
    }


def noise_lines(noise: Noise, effect: float, tried: int, measure: str) -> list[str]:
    """The noise floor in two sentences."""
    said = noise_plain(noise, effect, tried)
    values = " ".join(f"{value:.4f}" for value in noise.values)
    least, most = said["seeds_needed_range"]
    corrected = f", corrected for {tried} tries" if tried > 1 else ""
    return [
        f"Noise floor: the first arm under {len(noise.values)} seeds gives {values} {measure}: standard deviation "
        f"{noise.deviation:.4f} ({100 * noise.deviation / noise.mean:.2f} %). Differences between single runs "
        f"below {noise.single:.3f} ({100 * noise.single / noise.mean:.1f} %) may be chance.",
        f"An effect of {100 * effect:g} % needs {_seeds(said['seeds_needed'])} per arm to be detected four times in "
        f"five{corrected} ({_seeds(least)} to {_seeds(most)}, given that {len(noise.values)} runs estimate "
        f"the noise).",
    ]


def exit_code(outcomes: list[str]) -> int:
    """0: an arm is better than the first; 4: none is, and for one or more too little is known; 3: none is."""
    if "better" in outcomes:
        return FOUND
    return TOO_FEW if {"too few seeds", "too few items"} & set(outcomes) else NOTHING


def overall(arms: list[dict[str, Any]], tried: int, effect: float) -> str:
    """One sentence per arm, better ones first."""
    order = ("better", "worse", "failed", "not distinguishable", "too few seeds", "too few items")
    others = sorted(arms[1:], key=lambda arm: order.index(arm["outcome"]))
    corrected = f" p-values are corrected for {tried} tries (Holm)." if tried > 1 else ""
    return " ".join(arm["verdict"] for arm in others) + corrected


def _busy(found: Findings) -> str:
    """A warning if runs of one arm took very different times; otherwise empty."""
    worst = unsteadiness(found.costs.values())
    return "" if worst < BUSY else f"runs of one arm differ in time by a factor of {worst:.1f}: the machine was busy"


def _arm(trial: Trial, found: Findings, effect: float) -> dict[str, Any]:
    name = trial.arm.name
    scores, cost = found.scores.get(name), found.costs.get(name)
    values = [float(value) for value in scores.per_byte] if scores is not None else []
    about = {
        "arm": name,
        "sets": list(trial.arm.sets),
        "seeds": len(values),
        "values": [round(value, 6) for value in values],
        "mean": sum(values) / len(values) if values else None,
        "cost": cost.plain() if cost else None,
    }
    first = found.trials[0]
    if trial is first:
        return {**about, "outcome": "first", "verdict": f"{name} is the baseline."}
    if trial.failed:
        return {
            **about,
            "outcome": "failed",
            "verdict": f"{name} cannot be trained: {trial.failed.rstrip('.')}.",
            "per": {},
        }
    paired = trial.paired
    if paired is None:
        few = f"{name}: one seed does not show the noise; use at least two, better three."
        return {**about, "outcome": "too few seeds", "verdict": few, "per": {}}
    assert cost is not None
    match, costs = found.question.match, found.costs
    per = {one: per_cost(paired, cost, costs[first.arm.name], one, match, costs.values()) for one in COSTS}
    base = float(found.scores[first.arm.name].of(paired.seeds).per_byte.mean())
    return {
        **about,
        "outcome": paired.outcome,
        "difference": paired.difference,
        "difference_percent": 100 * paired.difference / base,
        "low": paired.low,
        "high": paired.high,
        "p": paired.p,
        "p_adjusted": paired.p_adjusted,
        "detectable": paired.detectable if math.isfinite(paired.detectable) else None,
        "per": {one: {"outcome": said.outcome, "ratio": said.ratio, "why": said.why} for one, said in per.items()},
        "verdict": _sentence(name, first.arm.name, trial, base, effect, found.items.measure),
    }


def _sentence(name: str, first: str, trial: Trial, base: float, effect: float, measure: str) -> str:
    paired = trial.paired
    assert paired is not None
    size, share = abs(paired.difference), 100 * abs(paired.difference) / base
    bounds = ""
    if paired.low is not None and paired.high is not None:
        bounds = f" (interval {paired.low:+.4f} to {paired.high:+.4f})"
    p = f"p = {paired.p_adjusted:.3f}" if paired.p_adjusted >= 0.001 else "p < 0.001"
    seeds = f"{paired.seeds} seed{'s' if paired.seeds > 1 else ''}"
    if paired.outcome in ("better", "worse"):
        sure = max(abs(paired.low or 0.0), abs(paired.high or 0.0)) < effect
        small = f"; significantly less than the {100 * effect / base:.2g} % that matters" if sure else ""
        by = f"by {size:.4f} {measure}, {share:.2g} %{bounds}"
        return f"{name} is {paired.outcome} than {first} {by}, {p}, {seeds}{small}."
    said = f"{paired.difference:+.4f} {measure}{bounds}, {p}, {seeds}"
    if paired.outcome == "not distinguishable":
        same = paired.difference == 0 and paired.low == 0 == paired.high
        detectable = f"a difference of {100 * effect / base:.2g} % would have been detected"
        why = "bit for bit the same" if same else detectable
        return f"{name} and {first} are not distinguishable: {said}; {why}."
    what = "documents" if paired.outcome == "too few items" else "seeds"
    found = "no difference, however large, would be detected"
    if math.isfinite(paired.detectable):
        found = f"only {100 * paired.detectable / base:.1f} % would be detected"
    return f"Too few {what} to compare {name} and {first}: {said}; {found}."


def _seeds(count: int | None) -> str:
    return "more than 64 seeds" if count is None else f"{count} seeds"
