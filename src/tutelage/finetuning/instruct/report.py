"""What the report says of instruction finetuning."""

from __future__ import annotations

from tutelage.store.blocks import Block
from tutelage.store.left_out import left_out_blocks, with_left_out
from tutelage.store.sections import (
    cautions,
    curve_chart,
    judged,
    measured,
    score_chart,
)
from tutelage.store.view import View
from tutelage.tasks import cautions_of


def sentence(view: View) -> str:
    said = judged(view, "chrF", ("baselines", "base"))
    ends = view.score("ends by itself")
    return with_left_out(view, said + (f"; {ends.show()} of its answers end by themselves" if said and ends else ""))


def section(view: View) -> list[Block | None]:
    return [
        curve_chart(view, "Loss (nats per answer token)", "Instruction loss, on the answers alone."),
        *cautions(view, ("rule passed",), cautions_of(view.settings.get("task"))),
        score_chart(view, "chrF", "chrF of the answers to held-out prompts against the references (0 to 100)."),
        score_chart(view, "ROUGE-L", "ROUGE-L of the same answers (0 to 100)."),
        *left_out_blocks(view),
        measured(view),
    ]
