"""Report sections of preference finetuning and of its pairs."""

from __future__ import annotations

from tutelage.finetuning.preflight.report import audit_blocks
from tutelage.store import format as f
from tutelage.store.blocks import Block, facts, prose
from tutelage.store.left_out import KEYS, left_out_blocks, with_left_out
from tutelage.store.plain import flatten
from tutelage.store.sections import (
    cautions,
    curve_chart,
    judged,
    measured,
    score_chart,
)
from tutelage.store.view import View
from tutelage.tasks import cautions_of

_CURVES = (
    ("reward_accuracy", "Reward accuracy", "Share of pairs in which the chosen answer has the higher reward."),
    ("margin", "Reward margin", "Reward of the chosen minus the rejected answer."),
    (
        "chosen_logp",
        "Log-probability of a token of the chosen answer",
        "It must not fall far: the margin can also grow while both answers become unlikely.",
    ),
)


_WINS = (
    "Greedy answers against those of the model before, prompt by prompt: by the rule’s score; without a rule, by whose "
    "words are more typical of chosen answers. The latter shows in which direction the model moved, not its quality."
)


def sentence(view: View) -> str:
    wins, alarm = view.score("win rate"), "over-optimised" if view.scores.alarm(view.name) else ""
    ruled = view.settings.get("task") is not None
    said = f"win rate {wins.show()} by the task’s rule" if wins and ruled else ""
    for measure in ("reward accuracy", "good above bad"):
        said = said or judged(view, measure, ("baselines",))
    if wins and not ruled:
        said = "; ".join(part for part in (said, f"win rate {wins.show()} by the words of the pairs") if part)
    return with_left_out(view, "; ".join(part for part in (said, alarm, _suffered(view)) if part))


def section(view: View) -> list[Block | None]:
    curves = [curve_chart(view, name, caption, key, 210) for key, name, caption in _CURVES]
    suffered = _suffered(view)
    return [
        curve_chart(view, "Loss (nats per pair)", "Preference loss."),
        *curves,
        *cautions(view, ("rule passed",), cautions_of(view.settings.get("task"))),
        score_chart(view, "reward accuracy", "Held-out pairs in which the chosen answer has the higher reward."),
        score_chart(view, "likelier a token", "Held-out pairs in which the chosen answer is likelier per token."),
        score_chart(view, "good above bad", "How often a good held-out answer has a higher reward than a bad one."),
        score_chart(view, "win rate", _WINS),
        score_chart(view, "rule passed", "Share of answers that pass every part of the rule."),
        prose(f"Against the model before: {suffered.rstrip('.')}.") if suffered else None,
        *left_out_blocks(view),
        *audit_blocks(view),
        measured(view),
    ]


def _suffered(view: View) -> str:
    """The verdict of the evaluation on chrF against the model before; empty if there is none."""
    for row in view.scores.comparisons:
        if (row.get("a"), row.get("b"), row.get("measure")) == (view.name, view.parent, "chrF") and "claim" in row:
            return str(row.get("verdict") or "")
    return ""


def pairs_sentence(view: View) -> str:
    count = view.metrics.get("pairs")
    return with_left_out(
        view, f"{f.plural(int(count), 'pair')} ranked by the task’s rule" if f.is_number(count) else ""
    )


def pairs_section(view: View) -> list[Block | None]:
    """Counts, scores and lengths of the pairs."""
    hidden = ("timing", "peak_memory_mb", *KEYS)
    kept = {key: value for key, value in view.metrics.items() if key not in hidden}
    return [facts(flatten(kept)), *left_out_blocks(view)]
