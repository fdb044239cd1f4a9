"""What of a corpus is finished, so that a preparation that was killed goes on from there.

A task reads some files, or takes one part of the corpus through one step. When it is done, a record is written beside
its Arrow files: their sizes and the account of what it took out. A task whose record is there and whose files are whole
is not done again. What a folder holds is for one config, one source and one seed; its name stands for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tutelage.corpus.card import Tally
from tutelage.corpus.document import Malformed
from tutelage.corpus.rows import Reading
from tutelage.corpus.shelf import Part, facts_of, joined
from tutelage.store.files import fsync_path, write_atomic

_COUNTED = ("removed", "pieces", "bytes", "counts")


def finish(task: Path, parts: Iterable[Part], tally: Tally, reading: Reading | None = None) -> None:
    """Record that a task is done; its files are on the disk before the record is."""
    files: dict[str, int] = {}
    for part in parts:
        assert isinstance(part.source, Path)
        fsync_path(part.source)
        files[part.source.name] = part.source.stat().st_size
    record = {"files": files, "tally": _plain_tally(tally), "reading": reading and _plain_reading(reading)}
    write_atomic(_record(task), json.dumps(record, ensure_ascii=False))


def finished(task: Path, seed: int) -> tuple[list[Part], Tally, Reading] | None:
    """What a task gave when it was done (without a reading: an empty one); None where it is to be done."""
    try:
        record = json.loads(_record(task).read_text(encoding="utf-8"))
        paths = {task.with_name(name): size for name, size in record["files"].items()}
        if any(path.stat().st_size != size for path, size in paths.items()):
            return None
    except (OSError, ValueError):
        return None
    parts = [
        Part(path, joined([facts_of(batch, seed) for batch in Part(path, joined([])).batches()])) for path in paths
    ]
    return parts, _tally(record["tally"]), _reading(record["reading"] or {})


def clear_unfinished(folder: Path) -> int:
    """Remove what no record names, of a preparation that was killed; the number of tasks that are done."""
    records = {path: record for path in folder.glob("*.json") if (record := _whole_record(path))}
    named = {name for record in records.values() for name in record["files"]}
    for path in folder.iterdir():
        if path not in records and path.name not in named:
            path.unlink()
    return len(records)


def _whole_record(path: Path) -> dict[str, Any] | None:
    """A record whose files are there, as long as they were."""
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        sizes = {name: path.with_name(name).stat().st_size for name in record["files"]}
    except (OSError, ValueError):
        return None
    return record if sizes == record["files"] else None


def _part(path: Path, seed: int) -> Part:
    part = Part(path, joined([]))
    return Part(path, joined([facts_of(batch, seed) for batch in part.batches()]))


def _record(task: Path) -> Path:
    return task.with_name(f"{task.name}.json")


def _plain_tally(tally: Tally) -> dict[str, Any]:
    counted = {name: dict(getattr(tally, name)) for name in _COUNTED}
    return {**counted, "examples": tally.examples, "shown": tally.shown}


def _tally(record: dict[str, Any]) -> Tally:
    found = Tally()
    for name in _COUNTED:
        getattr(found, name).update(record[name])
    found.examples = {reason: [(id_, one) for id_, one in some] for reason, some in record["examples"].items()}
    found.shown = {rule: [(id_, piece) for id_, piece in some] for rule, some in record["shown"].items()}
    return found


def _plain_reading(reading: Reading) -> dict[str, Any]:
    return {
        "malformed": [[one.file, one.line, one.why] for one in reading.malformed], "unread": reading.unread,
        "ignored": reading.ignored, "decoded": reading.decoded, "skipped": reading.skipped,
        "boundaries": reading.boundaries,
    }  # fmt: skip


def _reading(record: dict[str, Any]) -> Reading:
    return Reading(
        malformed=[Malformed(*one) for one in record.get("malformed", ())],
        unread=record.get("unread", 0),
        ignored=record.get("ignored", {}),
        decoded=[(file, remark) for file, remark in record.get("decoded", ())],
        skipped=record.get("skipped", {}),
        boundaries=[tuple(one) for one in record.get("boundaries", ())],
    )
