"""What the report says of reinforcement."""

from __future__ import annotations

from tutelage.finetuning.preflight.report import audit_blocks
from tutelage.store import format as f
from tutelage.store.blocks import Block, notice
from tutelage.store.left_out import left_out_blocks, with_left_out
from tutelage.store.plain import as_dict
from tutelage.store.sections import cautions, curve_chart, judged, measured, score_chart
from tutelage.store.view import View
from tutelage.tasks import cautions_of

_CURVES = (
    ("reward_std", "Spread of the reward", "Standard deviation within a group, on average. At 0 nothing is learned."),
    (
        "zero_variance",
        "Groups without variance",
        "Share of groups whose answers all got the same reward: they teach nothing. Below 0.8 is healthy.",
    ),
    (
        "entropy",
        "Entropy (nats per token)",
        "How undecided the model is. It falls while a task is learned; where it reaches 0 too early, nothing new is "
        "tried any more.",
    ),
    ("answer_tokens", "Tokens of an answer", "Length that grows without reward growing is drift."),
    ("truncated", "Truncated answers", "Share that ran into max_tokens instead of ending by itself."),
    ("clipped", "Clipped tokens", "Share beyond the clip; always 0 with one update per rollout. Below 0.3 is healthy."),
    ("kl", "KL to the model before (nats per token)", "Estimated by k3 on the model's own answers."),
)


def sentence(view: View) -> str:
    said = judged(view, "solved", ("parent",))
    if not said:
        after, before = view.metrics.get("solved"), view.metrics.get("solved_before")
        if f.is_number(after) and f.is_number(before):
            said = f"{f.percent(after)} of the held-out problems solved, {f.percent(before)} before"
    return with_left_out(view, said)


def section(view: View) -> list[Block | None]:
    parts = sorted(name for name in as_dict(view.metrics.get("rewards")) if len(as_dict(view.metrics["rewards"])) > 1)
    moved = {key for point in view.curve for key, value in point.items() if value}  # the others stayed at 0
    return [
        curve_chart(view, "Reward", "Mean reward of the sampled answers of each step.", "reward"),
        *[curve_chart(view, f"Reward: {name}", f"Of the part {name!r} alone, unweighted.", f"reward_{name}", 210)
          for name in parts],
        *[curve_chart(view, name, caption, key, 210) for key, name, caption in _CURVES if key in moved],
        *[notice(text) for text in cautions_of(view.settings.get("task"))],
        *cautions(view, ("rule passed",)),
        score_chart(view, "solved", "Held-out problems that the greedy answer solves."),
        score_chart(view, "solved, sampled", "The same on average of sampled answers."),
        *left_out_blocks(view),
        *audit_blocks(view),
        measured(view),
    ]  # fmt: skip
