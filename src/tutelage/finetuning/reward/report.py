"""Report section of a reward model."""

from __future__ import annotations

from tutelage.finetuning.preflight.report import audit_blocks
from tutelage.store.blocks import Block
from tutelage.store.left_out import left_out_blocks, with_left_out
from tutelage.store.sections import curve_chart, judged, measured, score_chart
from tutelage.store.view import View


def sentence(view: View) -> str:
    return with_left_out(view, judged(view, "reward accuracy", ("baselines",)))


def section(view: View) -> list[Block | None]:
    return [
        curve_chart(view, "Loss (nats per pair)", "Bradley-Terry loss."),
        curve_chart(view, "Reward margin", "Reward of the chosen minus the rejected answer.", "margin", 210),
        score_chart(view, "reward accuracy", "Held-out pairs in which the chosen answer has the higher reward."),
        *left_out_blocks(view),
        *audit_blocks(view),
        measured(view),
    ]
