"""Warnings during training: threshold rules on the step metrics.

A rule is a pure function of a `History`. It reads metrics by name and never fires if the objective does not report
them:

- `chosen_logp`, `margin`: log-probability per token of the chosen answers, and reward margin of the pairs
- `answer_tokens`: mean length of the answers sampled during training
- `stop_probability`: probability of the stop token where an answer ends
- `kl`: divergence from the reference, nats per token
- `entropy`: of the next token, nats
- `zero_variance`: share of the groups whose answers all have the same reward
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from tutelage.store.events import plain

WINDOW = 16  # steps at either end of the run whose means are compared
SURE = 3.0  # threshold in standard errors for a shift of the mean
CHOSEN_FALL = 0.1  # nats per token
LENGTH_DRIFT = 0.25  # relative to the initial length
STOP_FALL = 0.25  # relative to the initial probability
RISES = 3  # validations in a row
RISE = 0.005  # relative to the best held-out loss; less is harmless
KL_LIMIT = 0.5  # nats per token; a healthy run stays near 0.01 to 0.1
ENTROPY_FLOOR = 0.05  # nats; healthy is 0.05 to 0.5
ENTROPY_LEFT = 0.2  # share of the initial entropy
NO_SIGNAL = 0.95  # share of the groups


@dataclass
class History:
    """The figures of the first and the last `WINDOW` steps, and of every validation; saved in the checkpoint, so that a
    resumed run gives the same warnings. `said`: rules that have fired."""

    first: list[dict[str, float]] = field(default_factory=list)
    last: list[dict[str, float]] = field(default_factory=list)
    validations: list[dict[str, float]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def add_step(self, figures: Mapping[str, float]) -> None:
        """Record the figures of one applied step."""
        kept = {name: float(value) for name, value in figures.items() if math.isfinite(value)}
        if len(self.first) < WINDOW:
            self.first.append(kept)
        else:
            self.last = [*self.last, kept][-WINDOW:]

    def add_validation(self, step: int, figures: Mapping[str, float]) -> None:
        """Record the held-out figures (always of the same rows) and the training loss of the preceding steps."""
        recent = [figures["loss"] for figures in (self.last or self.first) if "loss" in figures]
        kept = {name: float(value) for name, value in figures.items() if math.isfinite(value)}
        if recent:
            kept["training_loss"] = statistics.fmean(recent)
        self.validations.append({**kept, "step": step})

    def news(self) -> list[Finding]:
        """New findings; each rule fires once."""
        found = [Finding(rule.name, said, rule.advice) for rule in RULES
                 if rule.name not in self.said and (said := rule.find(self))]  # fmt: skip
        self.said += [one.name for one in found]
        return found

    def state(self) -> dict[str, Any]:
        return dict(plain(asdict(self)))

    def load(self, state: Mapping[str, Any]) -> None:
        """Discard figures after a rollback; rules that have fired do not fire again."""
        before = self.said
        for name, value in state.items():
            setattr(self, name, list(value))
        self.said = list(dict.fromkeys([*self.said, *before]))


@dataclass(frozen=True)
class Finding:
    """The finding of a rule: its name, a sentence with the figures, and advice."""

    name: str
    says: str
    advice: str

    @property
    def text(self) -> str:
        return f"{self.says}: {self.advice}"


@dataclass(frozen=True)
class LiveRule:
    """A rule; `find` returns the finding with its numbers, or None."""

    name: str
    find: Callable[[History], str | None]
    advice: str


@dataclass(frozen=True)
class Shift:
    """Mean of a metric over the first and the last steps, and the standard error of their difference."""

    before: float
    after: float
    error: float

    @property
    def change(self) -> float:
        return self.after - self.before

    @property
    def sure(self) -> bool:
        return abs(self.change) > SURE * self.error


def shift(history: History, name: str) -> Shift | None:
    """The shift of a metric; None before both windows are full, or if it is not reported."""
    before, after = _values(history.first, name), _values(history.last, name)
    if len(before) < WINDOW or len(after) < WINDOW:
        return None
    error = math.sqrt(statistics.variance(before) / len(before) + statistics.variance(after) / len(after))
    return Shift(statistics.fmean(before), statistics.fmean(after), error)


def chosen_falls(before: Mapping[str, float], after: Mapping[str, float]) -> str | None:
    """The margin rises while the chosen answers become less likely (Pal et al. 2024; Razin et al. 2024)."""
    fall = before["chosen_logp"] - after["chosen_logp"]
    if fall <= CHOSEN_FALL or after["margin"] <= before["margin"]:
        return None
    return (
        f"the margin rises ({before['margin']:.2f} to {after['margin']:.2f}) while the chosen answers "
        f"become less likely ({fall:.2f} nats per token, {before['chosen_logp']:.2f} to {after['chosen_logp']:.2f})"
    )


def length_drifts(before: float, after: float) -> str | None:
    """The mean answer length changes by a quarter."""
    if abs(after - before) <= LENGTH_DRIFT * max(before, 1.0):
        return None
    return f"answers went from {before:.1f} to {after:.1f} tokens: length drifts"


def _chosen(history: History) -> str | None:
    held = [one for one in history.validations if "chosen_logp" in one and "margin" in one]
    if len(held) > 1 and (said := chosen_falls(held[0], held[-1])):
        return f"{said}, on held-out pairs"
    logp, margin = shift(history, "chosen_logp"), shift(history, "margin")
    if logp is None or margin is None or not (logp.sure and margin.sure):
        return None
    return chosen_falls(
        {"chosen_logp": logp.before, "margin": margin.before}, {"chosen_logp": logp.after, "margin": margin.after}
    )


def _length(history: History) -> str | None:
    moved = shift(history, "answer_tokens")
    return length_drifts(moved.before, moved.after) if moved and moved.sure else None


def _overfits(history: History) -> str | None:
    """Held-out loss higher in each of the last validations than in the one before, while training loss fell."""
    held = [one for one in history.validations if "loss" in one and "training_loss" in one]
    if len(held) <= RISES:
        return None
    run = held[-RISES - 1 :]
    rises = all(later["loss"] > earlier["loss"] for earlier, later in pairwise(run))
    start, end = run[0], run[-1]
    if not rises or end["loss"] - start["loss"] < RISE * abs(start["loss"]):
        return None
    if end["training_loss"] >= start["training_loss"]:
        return None
    return (
        f"held-out loss rose in {RISES} validations in a row ({start['loss']:.3f} at step {start['step']:.0f} to "
        f"{end['loss']:.3f} at step {end['step']:.0f}) while training loss fell ({start['training_loss']:.3f} to "
        f"{end['training_loss']:.3f})"
    )


def _stop(history: History) -> str | None:
    moved = shift(history, "stop_probability")
    if moved is None or not moved.sure or -moved.change <= STOP_FALL * moved.before:
        return None
    return f"where an answer ends the stop token's probability fell from {moved.before:.2f} to {moved.after:.2f}"


def _kl(history: History) -> str | None:
    recent = _values(history.last, "kl")
    mean = statistics.fmean(recent) if len(recent) == WINDOW else 0.0
    return f"the KL divergence from the reference is {mean:.2f} nats per token" if mean > KL_LIMIT else None


def _entropy(history: History) -> str | None:
    moved = shift(history, "entropy")
    if moved is None or not moved.sure or moved.change >= 0:
        return None
    if moved.after >= ENTROPY_FLOOR and moved.after >= ENTROPY_LEFT * moved.before:
        return None
    reward = shift(history, "reward")
    if (
        reward is not None and reward.sure and reward.change > 0
    ):  # low entropy is expected once the policy has found the answer
        return None
    return f"the entropy of the next token fell from {moved.before:.2f} to {moved.after:.3f} nats"


def _no_signal(history: History) -> str | None:
    groups = _values((history.first + history.last)[-WINDOW:], "zero_variance")
    if len(groups) < WINDOW or statistics.fmean(groups) < NO_SIGNAL:
        return None
    return f"in {statistics.fmean(groups):.0%} of the groups of the last {WINDOW} steps all answers had the same reward"


def _values(figures: Collection[Mapping[str, float]], name: str) -> list[float]:
    return [one[name] for one in figures if name in one]


RULES = (
    LiveRule("chosen_falls", _chosen, "raise sft_weight or beta, or lower learning_rate"),
    LiveRule("length_drift", _length, "use pairs of similar length, or penalise length in the reward"),
    LiveRule("overfitting", _overfits, "set training.use_best, or use fewer epochs or a lower learning_rate"),
    LiveRule("stop_falls", _stop, "answers will not stop; check the stop tokens in the data, or lower learning_rate"),
    LiveRule("kl_blow_up", _kl, "raise beta or lower learning_rate"),
    LiveRule("entropy_collapse", _entropy, "lower learning_rate, or raise the sampling temperature"),
    LiveRule("no_signal", _no_signal, "no learning signal; use other prompts, more samples or a higher temperature"),
)

RULE_NAMES = tuple(rule.name for rule in RULES)
ADVICE = {rule.name: rule.advice for rule in RULES}
