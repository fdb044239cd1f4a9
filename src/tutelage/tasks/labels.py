"""Classification by the labels of the corpus's documents: a folder name, a label column, a package."""

from __future__ import annotations

from collections.abc import Iterable

from tutelage.tasks.task import Examples, Row, Task


def examples(train: Iterable[Row], heldout: Iterable[Row], seed: int) -> Examples:
    """Every labelled document; the classifier drops labels with too few of them."""
    return Examples(_labelled(train), _labelled(heldout))


def _labelled(rows: Iterable[Row]) -> list[Row]:
    return [{key: row[key] for key in ("id", "text", "label")} for row in rows if row.get("label")]


TASK = Task(
    name="labels",
    title="classification",
    kind="labels",
    columns=("id", "text", "label"),
    examples=examples,
    cautions=("If the text contains the label, the model learns that word, and TF-IDF does as well.",),
)
