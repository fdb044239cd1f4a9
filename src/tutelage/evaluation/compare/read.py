"""Read results: a benchmark folder, a run's evaluation, or sample logs of lm-evaluation-harness."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.evaluation.compare.scores import Floats, Metric, Results, TaskScores
from tutelage.store.errors import DamagedError, InputError
from tutelage.store.hashing import sha256_json
from tutelage.store.jsonl import read_rows

ITEMS = "items.parquet"
_PAIRS = "pairs of "  # tasks on preference pairs, which a run may have sampled itself
_Columns = tuple[tuple[str, ...], Floats, Floats, tuple[str | None, ...] | None]
"""Item ids, values, weights and clusters of a metric."""
_HINT = "give a folder of `tutelage evaluate`, a run with an evaluation, or one with lm-eval's samples_*.jsonl"
_PRIMARY = ("acc_norm", "acc", "exact_match", "prompt_level_strict_acc", "f1", "log-likelihood", "bits_per_byte")


def read_results(place: Path) -> Results:
    """The scores in a folder. Raises InputError if there are none, DamagedError if they cannot be read."""
    if not place.exists():
        raise InputError(f"{place} does not exist", hint=_HINT)
    try:
        for found, read in _READERS:
            folder = found(place)
            if folder is not None:
                return read(place, folder)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DamagedError(f"{place} cannot be read: {type(error).__name__}: {error}", hint="evaluate again") from None
    raise InputError(f"{place} contains no item-level scores", hint=_HINT)


def _benchmark(place: Path) -> Path | None:
    return place if (place / "result.json").is_file() and (place / ITEMS).is_file() else None


def _read_benchmark(place: Path, folder: Path) -> Results:
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    if result["format"] != 1:
        raise InputError(f"{place}: unsupported results format {result['format']}, expected 1", hint="update tutelage")
    metrics = _metrics(folder / ITEMS, lambda row: row["task"])
    tasks = {}
    left_out = []
    for name, task in result["tasks"].items():
        described, mine, renamed = task.get("metrics", {}), {}, {}
        for metric, scores in metrics.get(name, {}).items():
            told = described.get(metric, {})
            made = _as_stated(metric, Metric(*scores, told.get("higher_is_better", True)), told.get("value"))
            if made is None:
                left_out.append(f"{name}: {metric} is not a mean over its items")
                continue
            renamed[metric] = made[0]
            mine[made[0]] = made[1]
        if not mine:
            continue
        known = {key: str(task.get(key)) for key in ("data_sha256", "prompt_sha256", "version")}
        primary = renamed.get(task["metric"], next(iter(mine)))
        tasks[name] = TaskScores(known, mine, primary, tuple(task.get("cautions", ())))
    return Results(place.name or str(place), str(place), tasks, tuple(left_out))


def _as_stated(name: str, metric: Metric, stated: float | None) -> tuple[str, Metric] | None:
    """The metric whose items reproduce the reported value, and its name; None if they do not.

    Values may be item scores, or numerators of a ratio over the sum of weights (bits over bytes); a perplexity is
    compared as its logarithm, which is a mean.
    """
    ratio = replace(metric, values=metric.values / metric.weights)
    for made in (metric, ratio):
        if stated is None or math.isclose(made.value, stated, rel_tol=1e-4, abs_tol=1e-6):
            return name, made
        if stated > 0 and math.isclose(made.value, math.log(stated), rel_tol=1e-4, abs_tol=1e-6):
            return f"log {name}", made
    return None


def _life(place: Path) -> Path | None:
    folders = [place]
    if (place / "run.json").is_file():
        stages = json.loads((place / "run.json").read_text(encoding="utf-8"))["stages"]
        folders += [place / one["artifact"] for one in stages if one["stage"] == "evaluate" and one.get("artifact")]
    return next((one for one in folders if (one / "evaluation.json").is_file()), None)


def _read_life(place: Path, folder: Path) -> Results:
    if not (folder / ITEMS).is_file():
        raise InputError(f"{place}: its evaluation has no item-level scores", hint="evaluate it again")
    figures = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["figures"]
    better = {(one["task"], one["measure"]): one["higher_is_better"] for one in figures}
    said = {(one["task"], one["measure"]): tuple(one.get("cautions", ())) for one in figures}
    found = _metrics(folder / ITEMS, lambda row: f"{row['who']}: {row['task']}")
    tasks = {}
    for name, metrics in found.items():
        task = name.split(": ", 1)[1]
        mine = {metric: Metric(*scores, better.get((task, metric), True)) for metric, scores in metrics.items()}
        primary = next(iter(mine))
        tasks[name] = TaskScores({}, mine, primary, said.get((task, primary), ()), task.startswith(_PAIRS))
    return Results(place.name or str(place), str(place), tasks)


def _metrics(path: Path, task_of: Callable[[dict[str, Any]], str]) -> dict[str, dict[str, _Columns]]:
    """task -> metric -> (items, values, weights, clusters) of a table of items, in its order."""
    import pyarrow.parquet as parquet

    rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in parquet.read_table(path).to_pylist():
        rows.setdefault(task_of(row), {}).setdefault(row["metric"], []).append(row)
    return {
        task: {
            metric: _columns(
                path, f"{task}, {metric}", [one["item"] for one in mine], [one["value"] for one in mine],
                [one.get("weight", 1.0) for one in mine], [one.get("cluster") for one in mine],
            )
            for metric, mine in by_metric.items()
        }
        for task, by_metric in rows.items()
    }  # fmt: skip


def _columns(
    path: Path, what: str, items: list[Any], values: list[Any], weights: list[Any], clusters: list[Any]
) -> _Columns:
    if len(set(items)) < len(items):
        twice = next(one for one in items if items.count(one) > 1)
        raise DamagedError(f"{path}: item {twice!r} of {what} occurs twice", hint="evaluate again")
    if not all(isinstance(one, int | float) and math.isfinite(one) for one in [*values, *weights]):
        raise DamagedError(f"{path}: a value of {what} is not finite", hint="evaluate again")
    if min(weights) <= 0:
        raise DamagedError(f"{path}: a weight of {what} is not positive", hint="evaluate again")
    some = tuple(one or None for one in clusters) if any(clusters) else None
    return tuple(map(str, items)), np.array(values, dtype=np.float64), np.array(weights, dtype=np.float64), some


def _harness(place: Path) -> Path | None:
    """The folder with lm-eval's sample logs: `place`, or its only such subfolder (lm-eval creates one per model)."""
    folders = sorted({path.parent for path in place.rglob("samples_*.jsonl")}) if place.is_dir() else []
    if len(folders) > 1:
        names = ", ".join(str(one.relative_to(place)) for one in folders)
        raise InputError(f"{place} contains sample logs of several models: {names}", hint="give one of them")
    return folders[0] if folders else None


def _read_harness(place: Path, folder: Path) -> Results:
    newest: dict[str, Path] = {}
    for path in sorted(folder.glob("samples_*.jsonl")):  # samples_TASK_DATE.jsonl sorts by date
        newest[path.stem.removeprefix("samples_").rsplit("_", 1)[0]] = path
    tasks = {name: scores for name, path in newest.items() if (scores := _harness_task(read_rows(path))) is not None}
    return Results(place.name or str(place), str(place), tasks)


def _harness_task(rows: list[dict[str, Any]]) -> TaskScores | None:
    """Scores of a task's first filter; metrics that are not one number per item are left out."""
    rows = [row for row in rows if row.get("filter", "none") == rows[0].get("filter", "none")]
    metrics = {}
    items = tuple(str(row["doc_id"]) for row in rows)
    for name in rows[0].get("metrics", ()):
        values = [row.get(name) for row in rows]
        if all(isinstance(one, int | float) and math.isfinite(one) for one in values):
            # lm-eval logs an item's log-likelihood under "perplexity".
            said = "log-likelihood" if name == "perplexity" else name
            metrics[said] = Metric(items, np.array(values, dtype=np.float64), np.ones(len(rows)))
        elif name == "bits_per_byte" and all(isinstance(one, list) and len(one) == 2 and one[1] for one in values):
            scores = np.array(values, dtype=np.float64)  # log-likelihood and bytes of each item
            metrics[name] = Metric(items, -scores[:, 0] / scores[:, 1] / math.log(2), scores[:, 1], None, False)
    if not metrics:
        return None
    known = {
        "data": sha256_json(sorted((str(row["doc_id"]), row.get("doc_hash")) for row in rows)),
        "prompt": sha256_json(sorted((str(row["doc_id"]), row.get("prompt_hash")) for row in rows)),
    }
    return TaskScores(known, metrics, next((name for name in _PRIMARY if name in metrics), next(iter(metrics))))


_READERS: Iterable[tuple[Callable[[Path], Path | None], Callable[[Path, Path], Results]]] = (
    (_benchmark, _read_benchmark),
    (_life, _read_life),
    (_harness, _read_harness),
)
