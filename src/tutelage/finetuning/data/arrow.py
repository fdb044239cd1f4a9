"""Parquet and Arrow files as rows; class numbers become class names if the file has them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from tutelage.store.errors import InputError
from tutelage.store.text import reason


def read_arrow(name: str, data: bytes) -> tuple[str, list[dict[str, Any]], list[str]]:
    """(kind, rows, notes) of a Parquet file, an Arrow file, or the stream that the library `datasets` saves.

    Raises InputError where it cannot be read.
    """
    import pyarrow as pa  # late: slow to import
    import pyarrow.parquet as pq

    kind = "Parquet" if data[:4] == b"PAR1" else "Arrow"
    try:
        if kind == "Parquet":
            table = pq.read_table(io.BytesIO(data))
        else:
            reader = pa.ipc.open_file(data) if data[:6] == b"ARROW1" else pa.ipc.open_stream(data)
            table = reader.read_all()
        rows = _as_text(table).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{name} is not readable as {kind}: {reason(error)}") from None
    notes = []
    for column, named in _class_names(table.schema.metadata or {}).items():
        if column in table.column_names:
            for row in rows:
                row[column] = _named(row[column], named)
            shown = ", ".join(f"{number} is {label!r}" for number, label in enumerate(named[:3]))
            more = f", and {len(named) - 3} more" if len(named) > 3 else ""
            notes.append(f"{column!r} is read by the names of its classes, which the file holds: {shown}{more}")
    return kind, rows, notes


def _as_text(table: Any) -> Any:
    """The table with dates, times and decimals as text, and bytes that are UTF-8 too."""
    import pyarrow as pa

    kinds = pa.types
    for place, field in enumerate(table.schema):
        told = (kinds.is_temporal, kinds.is_decimal, kinds.is_binary, kinds.is_large_binary)
        if any(is_kind(field.type) for is_kind in told):
            try:
                table = table.set_column(place, field.name, table.column(place).cast(pa.string()))
            except pa.ArrowException:
                continue  # other bytes: such a column is not text
    return table


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Column -> names of its classes, from the metadata of the library `datasets` (ClassLabel, alone or in a list)."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    found = {}
    for column, feature in features.items() if isinstance(features, dict) else ():
        inner = feature.get("feature", feature) if isinstance(feature, dict) else {}
        if isinstance(inner, dict) and inner.get("_type") == "ClassLabel" and isinstance(inner.get("names"), list):
            found[column] = [str(one) for one in inner["names"]]
    return found


def _named(value: Any, names: Sequence[str]) -> Any:
    """The name of a class number; None for -1, which means no label."""
    if isinstance(value, list):
        return [_named(one, names) for one in value]
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    return names[value] if 0 <= value < len(names) else None
