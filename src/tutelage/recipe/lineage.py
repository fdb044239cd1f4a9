"""Lineage: from any artifact, model or run back to the documents it was made from."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage.store.artifacts import MANIFEST, Artifact, open_artifact
from tutelage.store.errors import DamagedError, InputError


@dataclass
class Ancestor:
    """One artifact and what it was made from; `artifact` is None where only the identity is known."""

    stage: str
    identity: str
    artifact: Artifact | None
    inputs: list[Ancestor] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "identity": self.identity,
            "path": str(self.artifact.path) if self.artifact else None,
            "config": self.artifact.manifest["config"] if self.artifact else None,
            "seconds": self.artifact.manifest["seconds"] if self.artifact else None,
            "inputs": [ancestor.plain() for ancestor in self.inputs],
        }


def lineage(path: Path) -> Ancestor:
    """The tree of what `path` (an artifact directory, or a run folder: its last stage) was made from."""
    if (path / "run.json").exists():
        try:
            record = json.loads((path / "run.json").read_text(encoding="utf-8"))
            made = [stage for stage in record["stages"] if stage.get("artifact")]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DamagedError(f"{path / 'run.json'} is damaged", hint="run its recipe again") from None
        if not made:
            raise InputError(f"run {path} has produced nothing yet")
        path = path / made[-1]["artifact"]
    return _ancestor(open_artifact(path.resolve()))


def _ancestor(artifact: Artifact) -> Ancestor:
    found = Ancestor(artifact.stage, artifact.identity, artifact)
    for name, identity in sorted(artifact.manifest["inputs"].items()):
        made = [place for place in artifact.path.parent.glob(f"*-{identity[:12]}") if (place / MANIFEST).exists()]
        if made:
            found.inputs.append(_ancestor(open_artifact(made[0])))
        else:
            found.inputs.append(Ancestor(name, identity, None))
    return found
