"""What the report says of an adopted model."""

from __future__ import annotations

from tutelage.store import format as f
from tutelage.store.blocks import Block, prose
from tutelage.store.sections import architecture, judged, score_chart
from tutelage.store.view import View


def sentence(view: View) -> str:
    parameters = view.metrics.get("parameters")
    said = f"from {view.metrics.get('adopted')}, {f.compact(parameters)} parameters" if parameters else ""
    parts = [said, judged(view, "bits per byte", ("baselines",))]
    return f.sentence("; ".join(part for part in parts if part))


def section(view: View) -> list[Block | None]:
    return [
        prose(
            f"Not trained here: the model is {view.metrics.get('adopted')}. What it read before is not known; it may "
            "have read the held-out text."
        ),
        *architecture(view),
        score_chart(
            view, "bits per byte", "Bits for a byte of held-out text. “Primed” compressors have seen all training text."
        ),
        score_chart(view, "word order", "Which of two orders of a held-out sentence the model finds likelier."),
    ]
