"""Report section of a multi-label classifier."""

from __future__ import annotations

from tutelage.finetuning.classify.report import pooling_notice
from tutelage.finetuning.preflight.report import audit_blocks
from tutelage.store.blocks import Block
from tutelage.store.left_out import left_out_blocks, with_left_out
from tutelage.store.sections import curve_chart, judged, measured, score_chart
from tutelage.store.view import View


def sentence(view: View) -> str:
    return with_left_out(view, judged(view, "micro-F1", ("baselines",)))


def section(view: View) -> list[Block | None]:
    beside = "on held-out texts, against baselines without a pretrained model."
    return [
        curve_chart(view, "Loss (nats per text)", "Sum of the binary cross entropies of all labels."),
        score_chart(view, "micro-F1", f"Micro-F1 {beside}"),
        score_chart(view, "label macro-F1", f"Macro-F1 {beside}"),
        score_chart(view, "exact match", f"Share of texts with exactly the right labels {beside}"),
        *pooling_notice(view),
        *left_out_blocks(view),
        *audit_blocks(view),
        measured(view),
    ]
