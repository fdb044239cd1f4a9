"""The report section of a classifier."""

from __future__ import annotations

from tutelage.finetuning.preflight.report import audit_blocks
from tutelage.store import format as f
from tutelage.store.blocks import Block, Cell, fold, notice, table
from tutelage.store.left_out import left_out_blocks, with_left_out
from tutelage.store.sections import curve_chart, judged, measured, score_chart
from tutelage.store.view import View

_SHOWN = 12


def sentence(view: View) -> str:
    said = judged(view, "mean absolute error", ("baselines",)) or judged(view, "accuracy", ("baselines",))
    if not said and f.is_number(rows := view.metrics.get("train_texts")):  # a point of a learning curve
        said = (
            f"{f.plural(int(rows), 'training text')}, held-out accuracy {f.percent(view.metrics['heldout_accuracy'])}"
        )
    return with_left_out(view, said)


def section(view: View) -> list[Block | None]:
    beside = "on held-out texts, against baselines without a pretrained model."
    return [
        curve_chart(view, "Loss (nats per text)", "Classification loss."),
        score_chart(view, "mean absolute error", f"Mean absolute error in steps of the labels' order {beside}"),
        score_chart(view, "quadratic weighted kappa", f"Quadratic weighted kappa {beside}"),
        score_chart(view, "accuracy", f"Accuracy {beside}"),
        score_chart(view, "macro-F1", f"Macro-F1 {beside}"),
        *pooling_notice(view),
        *_suspected(view),
        *left_out_blocks(view),
        *audit_blocks(view),
        measured(view),
    ]


def pooling_notice(view: View) -> list[Block | None]:
    said = str(view.metrics.get("pooling") or "")
    return [notice(said[0].upper() + said[1:] + ".")] if said else []


def _suspected(view: View) -> list[Block | None]:
    """Training texts whose label is unlikely by an out-of-fold fit."""
    rows: list[list[Cell]] = [
        [f.clip(row.get("text"), 120), str(row.get("label")), f.percent(row.get("probability")),
         str(row.get("likelier")), f.percent(row.get("its_probability"))]
        for row in view.lines("data/suspected.jsonl")[:_SHOWN]
    ]  # fmt: skip
    if not rows:
        return []
    count = f.plural(int(view.metrics.get("suspected_labels") or len(rows)), "training text")
    columns = ["Text", "Label", "Its probability#", "More likely", "Its probability#"]
    return [fold(f"{count} with a possibly wrong label", [table(columns, rows)])]
