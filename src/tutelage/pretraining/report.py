"""The report section on pretraining."""

from __future__ import annotations

from tutelage.store import format as f
from tutelage.store.blocks import Block, fold, heading, table
from tutelage.store.left_out import left_out_blocks, with_left_out
from tutelage.store.sections import architecture, curve_chart, judged, measured, score_chart
from tutelage.store.view import View

_BLOCK_FIGURES = {
    "weight_rms": "Weights",
    "grad_rms": "Gradients",
    "update_ratio": "Step’s change",
    "activation_rms": "Output",
}


def sentence(view: View) -> str:
    said = judged(view, "bits per byte", ("baselines",))
    return with_left_out(view, f"held-out {said}" if said else "")


def section(view: View) -> list[Block | None]:
    caption = "Pretraining loss. Pale: every logged step; line: running mean; dark: held-out."
    return [
        *architecture(view, ("train_tokens", "tokens_seen", "steps", "epochs")),
        curve_chart(view, "Loss (nats per token)", caption),
        heading("Held-out bits per byte") if view.score("bits per byte") else None,
        score_chart(
            view, "bits per byte", "Bits per byte of held-out text. “Primed” compressors have seen all training text."
        ),
        score_chart(
            view,
            "word order",
            "Share of held-out sentences judged more likely than the same with two words swapped.",
        ),
        _inside_the_blocks(view),
        *left_out_blocks(view),
        measured(view),
    ]


def _inside_the_blocks(view: View) -> Block | None:
    """The last logged statistics of every block."""
    looks = [event for event in view.events if event.get("event") == "layers"]
    figures = {name: looks[-1].get(name) for name in _BLOCK_FIGURES} if looks else {}
    columns = {name: values for name, values in figures.items() if isinstance(values, list) and values}
    if not columns:
        return None
    count = min(len(values) for values in columns.values())
    rows = [[str(block + 1), *(f.number(values[block]) for values in columns.values())] for block in range(count)]
    caption = (
        f"Step {looks[-1].get('step')}. Root mean squares; the step’s change is over the weights’ norm, about 0.001 in "
        "a healthy run. A block that differs much from its neighbours indicates a problem."
    )
    names = [f"{_BLOCK_FIGURES[name]}#" for name in columns]
    return fold("Inside the blocks", [table(["Block", *names], rows, caption)])
