"""Report section of reinforcement."""

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
    ("reward_std", "Spread of the reward", "Mean standard deviation within a group. At 0 there is no gradient."),
    (
        "zero_variance",
        "Groups without variance",
        "Share of groups whose answers all have the same reward and give no gradient. Below 0.8 is healthy.",
    ),
    (
        "entropy",
        "Entropy (nats per token)",
        "Uncertainty of the model. It falls while a task is learned; if it reaches 0 too early, exploration stops.",
    ),
    ("answer_tokens", "Tokens of an answer", "Growing length without growing reward is drift."),
    ("truncated", "Truncated answers", "Share that reached max_tokens before the end token."),
    (
        "clipped",
        "Clipped tokens",
        "Share outside the clipping range; always 0 with one update per rollout. Below 0.3 is healthy.",
    ),
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
    moved = {key for point in view.curve for key, value in point.items() if value}  # the others are constantly 0
    return [
        curve_chart(view, "Reward", "Mean reward of the sampled answers of each step.", "reward"),
        *[curve_chart(view, f"Reward: {name}", f"The reward {name!r} alone, unweighted.", f"reward_{name}", 210)
          for name in parts],
        *[curve_chart(view, name, caption, key, 210) for key, name, caption in _CURVES if key in moved],
        *[notice(text) for text in cautions_of(view.settings.get("task"))],
        *cautions(view, ("rule passed",)),
        score_chart(view, "solved", "Held-out problems that the greedy answer solves."),
        score_chart(view, "solved, sampled", "The same, averaged over sampled answers."),
        *left_out_blocks(view),
        *audit_blocks(view),
        measured(view),
    ]  # fmt: skip
