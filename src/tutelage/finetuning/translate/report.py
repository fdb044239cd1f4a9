"""Report section of translation finetuning."""

from __future__ import annotations

from tutelage.finetuning.instruct.report import samples_of
from tutelage.finetuning.preflight.report import audit_blocks
from tutelage.store.blocks import Block, code
from tutelage.store.left_out import left_out_blocks
from tutelage.store.sections import curve_chart, measured, score_chart
from tutelage.store.view import View


def section(view: View) -> list[Block | None]:
    prompt = view.metrics.get("prompt")
    return [
        curve_chart(view, "Loss (nats per answer token)", "Loss on the translations only."),
        score_chart(view, "chrF", "Mean sentence chrF2 of held-out translations (0 to 100)."),
        score_chart(view, "BLEU", "Corpus BLEU of the same translations (0 to 100), as sacrebleu defines it."),
        score_chart(view, "ends by itself", "Share of translations that the model ends by itself."),
        code(str(prompt)) if prompt else None,
        *samples_of(view),
        *left_out_blocks(view),
        *audit_blocks(view),
        measured(view),
    ]
