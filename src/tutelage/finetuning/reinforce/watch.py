"""Warnings about a run of reinforcement that goes wrong, by thresholds from the literature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tutelage.finetuning.reinforce.config import ReinforceConfig
from tutelage.store.events import EventLog

FLAT = 0.8  # share of groups without variance; above, most rollouts give no gradient
CLIPPED = 0.3  # share of clipped tokens; above, updates are too large
COLLAPSED = 0.02  # of the entropy at the start; below, all samples are alike
TRUNCATED = 0.5  # share of answers that reach max_tokens


def warn(
    curve: Sequence[Mapping[str, Any]], before: Mapping[str, float], after: Mapping[str, float],
    config: ReinforceConfig, log: EventLog,
) -> list[str]:  # fmt: skip
    """Warn of problems in the training curve and the held-out figures; returns the warnings."""
    said = trouble(curve)
    if after["greedy"] < before["greedy"]:
        said.append(
            f"fewer held-out problems are solved than before ({after['greedy']:.1%} after {before['greedy']:.1%}): "
            "lower learning_rate, or set beta"
        )
    lengthy = after["answer_tokens"] > 0.9 * config.max_tokens
    if lengthy and after["answer_tokens"] > 1.25 * before["answer_tokens"]:
        said.append(
            f"answers grew from {before['answer_tokens']:.1f} to {after['answer_tokens']:.1f} tokens, "
            f"close to max_tokens ({config.max_tokens}): add a reward with rule length"
        )
    for message in said:
        log.warn(message)
    return said


def trouble(curve: Sequence[Mapping[str, Any]]) -> list[str]:
    """Warnings from the logged steps."""
    steps = [point for point in curve if "reward" in point]
    if not steps:
        return []
    first, last = steps[: max(1, len(steps) // 10)], steps[-max(1, len(steps) // 4) :]

    def mean(points: Sequence[Mapping[str, Any]], name: str) -> float:
        return sum(float(point[name]) for point in points) / len(points)

    said = []
    if all(float(point["reward_std"]) == 0 for point in steps):
        rewards = sorted({round(float(point["reward"]), 3) for point in steps})
        said.append(
            f"in no logged step did two answers to one prompt differ in reward (it was {rewards[0]:g}"
            + (f" to {rewards[-1]:g}" if len(rewards) > 1 else "")
            + "): nothing was learned; the problems are too hard or too easy for the model, or the reward does not "
            "recognise right answers"
        )
        return said
    if (flat := mean(last, "zero_variance")) > FLAT:
        hard = mean(last, "reward") < mean(first, "reward") + 1e-9
        advice = "use easier problems or raise num_generations" if hard else "they are learned: stop or use harder ones"
        said.append(f"at the end {flat:.0%} of the groups have equal rewards and no gradient: {advice}")
    if (clipped := mean(last, "clipped")) > CLIPPED:
        said.append(f"at the end {clipped:.0%} of the tokens are clipped: lower learning_rate or updates_per_rollout")
    if mean(last, "entropy") < COLLAPSED * mean(first, "entropy") and mean(last, "reward") < 0.9 * max(
        float(point["reward"]) for point in steps
    ):
        said.append("the entropy has collapsed while the reward is below its best: raise epsilon_high, or lower "
                    "learning_rate")  # fmt: skip
    if (cut := mean(last, "truncated")) > TRUNCATED:
        said.append(f"at the end {cut:.0%} of the answers reach max_tokens: raise it")
    return said
