"""Report section of an imported model."""

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
            f"Not trained here: the model is {view.metrics.get('adopted')}. Its training data are unknown and may "
            "include the held-out text."
        ),
        *architecture(view),
        score_chart(
            view, "bits per byte", "Bits per byte of held-out text. “Primed” compressors have seen all training text."
        ),
        score_chart(
            view,
            "word order",
            "How often the model finds a held-out sentence more likely than the same words in another order.",
        ),
    ]
