"""Documents of Hugging Face datasets, by the `datasets` package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tutelage.corpus.document import Document
from tutelage.corpus.rows import InputFile, Reading, take_row
from tutelage.store.errors import ConfigError
from tutelage.store.text import reason


def read_hub(
    source: str, text_field: str, label_field: str, write: Callable[[Document], None] | None = None
) -> Reading:
    """Documents of a Hugging Face dataset `hf:NAME[:SPLIT]` (default split: train); `write` takes them as they are
    read. Raises ConfigError."""
    rows, name = _hub_dataset(source)
    if text_field not in rows.column_names:
        raise ConfigError(f"{source} has no column {text_field!r}", hint=f"columns: {', '.join(rows.column_names)}")
    names = getattr(rows.features.get(label_field), "names", None)  # class labels are stored as numbers
    reading = Reading(write=write)
    file = InputFile(Path(name), name, None)
    for number, row in enumerate(_named_labels(rows, label_field, names), 1):
        take_row(file, number, row, reading, text_field, label_field)
    return reading


def _named_labels(
    rows: Iterable[dict[str, Any]], label_field: str, names: list[str] | None
) -> Iterator[dict[str, Any]]:
    for row in rows:
        if names and isinstance(row.get(label_field), int) and 0 <= row[label_field] < len(names):
            row = {**row, label_field: names[row[label_field]]}
        yield row


def hub_identity(source: str) -> str:
    """Fingerprint of the dataset as it was loaded."""
    return str(_hub_dataset(source)[0]._fingerprint)


def _hub_dataset(source: str) -> tuple[Any, str]:
    try:
        import datasets
    except ImportError:
        raise ConfigError(f"{source} needs the package 'datasets'", hint="pip install 'tutelage[hub]'") from None
    parts = source.removeprefix("hf:").split(":")
    try:
        return datasets.load_dataset(parts[0], split=parts[1] if len(parts) > 1 else "train"), parts[0]
    except Exception as error:  # the library raises many kinds: absent, gated, no network
        raise ConfigError(f"cannot load {source}: {reason(error)}") from error
