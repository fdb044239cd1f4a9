"""Artifacts: directories with a manifest, named by what made them, written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from tutelage.store.errors import DamagedError, InputError
from tutelage.store.files import new_directory, write_json
from tutelage.store.hashing import sha256_file, sha256_json

MANIFEST = "manifest.json"
_PACKAGES = ("tutelage", "torch", "numpy", "tokenizers", "safetensors", "pyarrow", "pydantic")


@dataclass(frozen=True)
class Artifact:
    """A finished artifact: its directory and its manifest."""

    path: Path
    manifest: dict[str, Any]

    @property
    def stage(self) -> str:
        return str(self.manifest["stage"])

    @property
    def identity(self) -> str:
        return str(self.manifest["identity"])

    @property
    def metrics(self) -> dict[str, Any]:
        return dict(self.manifest["metrics"])


def identity_of(stage: str, version: int, config: dict[str, Any], inputs: dict[str, str]) -> str:
    """Identity of a stage's result: equal stage, version, config and inputs give the same name."""
    return sha256_json({"stage": stage, "version": version, "config": config, "inputs": inputs})


def open_artifact(path: Path, verify: bool = False) -> Artifact:
    """Read an artifact directory. Raises InputError if it is not one, DamagedError if a file was altered."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is not an artifact: it has no {MANIFEST}") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise DamagedError(f"{path / MANIFEST} is damaged", hint="remove the directory and run again") from None
    try:
        records = {name: (record["bytes"], record["sha256"]) for name, record in manifest["files"].items()}
    except (KeyError, TypeError, AttributeError):
        raise DamagedError(
            f"{path / MANIFEST} does not list its files", hint="remove the directory and run again"
        ) from None
    for name, (size, sha256) in records.items():
        file = path / name
        # Size is checked always, content on demand: a cached run must stay a matter of seconds.
        if not file.is_file() or file.stat().st_size != size:
            raise DamagedError(f"{file} is missing or truncated", hint="remove the directory and run again")
        if verify and sha256_file(file) != sha256:
            raise DamagedError(f"{file} does not match its recorded SHA-256", hint="remove it and run again")
    return Artifact(path, manifest)


class ArtifactStore:
    """All artifacts under one root: `artifacts/STAGE-IDENTITY/`, and `work/` for unfinished work."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, stage: str, identity: str) -> Path:
        return self.root / "artifacts" / f"{stage}-{identity[:12]}"

    def work(self, stage: str, identity: str) -> Path:
        """Directory that survives a kill: checkpoints of an unfinished stage live here."""
        return self.root / "work" / f"{stage}-{identity[:12]}"

    def find(self, stage: str, identity: str, verify: bool = False) -> Artifact | None:
        """The finished artifact of that identity, or None. Raises DamagedError if it is there but altered."""
        path = self.path(stage, identity)
        if not (path / MANIFEST).exists():
            return None
        artifact = open_artifact(path, verify)
        return artifact if artifact.identity == identity else None

    def write(
        self,
        stage: str,
        version: int,
        config: dict[str, Any],
        inputs: dict[str, str],
        fill: Callable[[Path, Path], dict[str, Any]],
    ) -> Artifact:
        """Make one artifact: `fill(out, work)` puts files into `out` and returns the main metrics.

        Written in a temporary directory, hashed, fsynced, renamed; `work` is removed afterwards.
        """
        identity = identity_of(stage, version, config, inputs)
        final, work = self.path(stage, identity), self.work(stage, identity)
        work.mkdir(parents=True, exist_ok=True)
        begin = time.time()
        with new_directory(final) as out:
            metrics = fill(out, work)
            files = {
                str(path.relative_to(out)): {"sha256": sha256_file(path), "bytes": path.stat().st_size}
                for path in sorted(out.rglob("*"))
                if path.is_file()
            }
            from tutelage.store.device import machine  # late: torch is slow to import

            manifest = {
                "stage": stage,
                "version": version,
                "identity": identity,
                "config": config,
                "inputs": inputs,
                "files": files,
                "metrics": metrics,
                "packages": packages(),
                "git_commit": git_commit(),
                "machine": machine(),
                "started": round(begin, 3),
                "seconds": round(time.time() - begin, 3),
            }
            write_json(out / MANIFEST, manifest)
        shutil.rmtree(work, ignore_errors=True)
        return Artifact(final, manifest)


def packages() -> dict[str, str]:
    """Versions of the packages a result depends on."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Commit of the source tree this package runs from, `+dirty` if changed; None outside a checkout."""
    here = Path(__file__).resolve().parent
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        commit = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "--short=12", "HEAD"],
            capture_output=True, text=True, timeout=5, env=environment,
        )  # fmt: skip
        if commit.returncode != 0:
            return None
        status = subprocess.run(
            ["git", "-C", str(here), "status", "--porcelain", "--untracked-files=no", "."],
            capture_output=True, text=True, timeout=5, env=environment,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return commit.stdout.strip() + ("+dirty" if status.stdout.strip() else "")
