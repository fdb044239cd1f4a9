"""Report section of instruction finetuning."""

from __future__ import annotations

from tutelage.finetuning.preflight.report import audit_blocks
from tutelage.store.blocks import Block, fold, samples
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


def samples_of(view: View) -> list[Block | None]:
    """Answers during training, prompt by prompt."""
    by_prompt: dict[str, list[dict[str, object]]] = {}
    for event in view.events:
        if event.get("event") == "sample" and "prompt" in event:
            by_prompt.setdefault(str(event["prompt"]), []).append(event)
    rows: list[Block] = []
    for prompt, events in by_prompt.items():
        answers = [(f"{event['title']}, chrF {event.get('chrf', '')}", str(event["text"]), "ink") for event in events]
        reference = [("reference", str(events[0]["reference"]), "quiet")] if "reference" in events[0] else []
        rows.append({"prompt": prompt, "answers": [*answers, *reference]})
    return [fold("Answers during training", [samples(rows)])] if rows else []


def section(view: View) -> list[Block | None]:
    return [
        curve_chart(view, "Loss (nats per answer token)", "Instruction loss, on the answers only."),
        *cautions(view, ("rule passed",), cautions_of(view.settings.get("task"))),
        score_chart(view, "chrF", "chrF of the answers to held-out prompts against the references (0 to 100)."),
        score_chart(view, "ROUGE-L", "ROUGE-L of the same answers (0 to 100)."),
        *samples_of(view),
        *left_out_blocks(view),
        *audit_blocks(view),
        measured(view),
    ]
