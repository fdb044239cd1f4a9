"""The folder of a run: run.json, and its event log, which a kill may have cut short."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.recipe.graph import Node
from tutelage.store.artifacts import Artifact
from tutelage.store.files import write_json


@dataclass
class Run:
    """A run folder and its record so far."""

    path: Path
    record: dict[str, Any]

    def save(self) -> None:
        write_json(self.path / "run.json", self.record)

    def stage(self, name: str) -> dict[str, Any]:
        for record in self.record["stages"]:
            if record["stage"] == name:
                return dict(record)
        raise KeyError(name)


def pending(node: Node) -> dict[str, Any]:
    return {"stage": node.name, "kind": node.spec.kind, "makes": node.spec.makes, "status": "pending"}


def keep_forecast(run: Run, record: dict[str, Any], earlier: Mapping[str, Any]) -> None:
    """Keep the forecast of a stage that an earlier run of this folder made, to compare it with the actual figures."""
    name, identity = record["stage"], record.get("identity")
    same = any(one.get("stage") == name and one.get("identity") == identity for one in earlier.get("stages", ()))
    if record["status"] == "cached" and same and name in earlier.get("forecast", {}):
        run.record["forecast"].setdefault(name, earlier["forecast"][name])


def read_record(path: Path) -> dict[str, Any]:
    """An earlier run.json of the folder; empty if there is none or it cannot be read."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def chat_model(stages: list[dict[str, Any]]) -> str | None:
    """The model to chat with: the last chat model, else the base; a path relative to the run folder."""
    for makes in ("chat model", "language model"):
        made = [record for record in stages if record.get("makes") == makes and record.get("artifact")]
        if made:
            return str(made[-1]["artifact"])
    return None


def entry(artifact: Artifact, run: Run) -> dict[str, Any]:
    """The entry of an artifact in run.json."""
    return {
        "identity": artifact.identity,
        "artifact": os.path.relpath(artifact.path, run.path),
        "seconds": artifact.manifest["seconds"],
        "peak_memory_mb": artifact.metrics.get("peak_memory_mb"),
        "metrics": artifact.metrics,
    }


def end_last_line(path: Path) -> None:
    """A kill may have truncated the last event; the next one must not be lost with it."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
