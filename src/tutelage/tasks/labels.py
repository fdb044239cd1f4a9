"""The labels that the corpus's own documents carry: a folder's name, a label column, a package."""

from __future__ import annotations

from collections.abc import Iterable

from tutelage.tasks.task import Examples, Row, Task


def examples(train: Iterable[Row], heldout: Iterable[Row], seed: int) -> Examples:
    """Every labelled document; which labels have enough of them is the classifier's business."""
    return Examples(_labelled(train), _labelled(heldout))


def _labelled(rows: Iterable[Row]) -> list[Row]:
    return [{key: row[key] for key in ("id", "text", "label")} for row in rows if row.get("label")]


TASK = Task(
    name="labels",
    title="classification",
    kind="labels",
    columns=("id", "text", "label"),
    examples=examples,
    cautions=("A label that is spelled out in the text is learned as a word; TF-IDF then does as well.",),
)
