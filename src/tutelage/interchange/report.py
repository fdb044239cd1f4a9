"""What the report says of an adopted model."""

from __future__ import annotations

from tutelage.store import format as f
from tutelage.store.blocks import Block, prose
from tutelage.store.sections import architecture
from tutelage.store.view import View


def sentence(view: View) -> str:
    parameters = view.metrics.get("parameters")
    return f.sentence(f"{view.metrics.get('adopted')}, {f.compact(parameters)} parameters" if parameters else "")


def section(view: View) -> list[Block | None]:
    return [
        prose(
            f"Not trained here: the model is {view.metrics.get('adopted')}. What it read before is not known; it may "
            "have read the held-out text."
        ),
        *architecture(view),
    ]
