"""Write a benchmark result as a folder: figures as JSON, scores as tables; see docs/tasks.md."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.evaluation.bench.metrics import is_share
from tutelage.evaluation.bench.protocol import Measured
from tutelage.evaluation.bench.result import TaskResult
from tutelage.store.artifacts import packages
from tutelage.store.device import machine
from tutelage.store.errors import ConfigError
from tutelage.store.files import not_ours, users_directory, write_json

FORMAT = 1


def check_place(out: Path) -> None:
    """Raise ConfigError, before anything is computed, if `write_result` could not write."""
    if in_the_way := not_ours(out):
        raise ConfigError(
            f"{out} contains other files: {', '.join(in_the_way[:5])}", hint="give a new folder with --out"
        )
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ConfigError(f"cannot write to {there}", hint="give another folder with --out")


def write_result(
    out: Path, model: Measured, results: Sequence[TaskResult], extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Write the folder `out` and return the content of its result.json; see docs/tasks.md. A user's files in the folder
    are kept."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    summary = summary_of(model, results) | dict(extra or {})
    with users_directory(out) as folder:
        write_json(folder / "result.json", summary)
        (folder / "model-index.yaml").write_text(model_index(summary), encoding="utf-8")
        pq.write_table(pa.Table.from_pylist(item_rows(results), schema=_items_schema()), folder / "items.parquet")
        rows = choice_rows(results)
        if rows:
            pq.write_table(pa.Table.from_pylist(rows), folder / "choices.parquet")
        written = [row for result in results for row in result.generations]
        if written:
            plain = [{**row, "found": str(row["found"]), "grades": str(row["grades"])} for row in written]
            pq.write_table(pa.Table.from_pylist(plain), folder / "generations.parquet")
    return summary


def model_index(summary: Mapping[str, Any]) -> str:
    """The results as the `model-index` of a model card, in YAML."""
    import yaml

    entries = []
    for name, task in summary["tasks"].items():
        figure = task["metrics"][task["metric"]]
        value = round(100 * figure["value"], 2) if is_share(task["metric"]) else round(figure["value"], 4)
        entries.append({
            "task": {"type": "text-generation"},
            "dataset": {"type": name, "name": task["title"], "args": {"items": task["items"], "shots": task["shots"]}},
            "metrics": [{"type": task["metric"], "name": f"{task['metric']} (tutelage)", "value": value}],
        })  # fmt: skip
    index = {"model-index": [{"name": summary["model"]["name"], "results": entries}]}
    return str(yaml.safe_dump(index, sort_keys=False, allow_unicode=True))


def summary_of(model: Measured, results: Sequence[TaskResult]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "model": {
            "name": model.name, "identity": model.identity, "tokenizer": model.tokenizer,
            "precision": model.precision, "context": model.context,
        },
        "tasks": {result.prepared.task.name: _task(result) for result in results},
        "results": {result.prepared.task.name: harness_row(result) for result in results},
        "versions": packages(),
        "machine": machine(),
    }  # fmt: skip


def _task(result: TaskResult) -> dict[str, Any]:
    task = result.prepared.task
    return {
        "title": task.title,
        "kind": task.kind,
        "data_sha256": result.prepared.data_sha256,
        "prompt_sha256": result.prepared.prompt_sha256,
        "version": task.version,
        "licence": task.licence,
        "shots": task.shots,
        "items": len(result.prepared.items),
        "items_in_all": result.prepared.total,
        "metric": task.metric,
        "chance": next((one.value for one in result.baselines if one.name == "chance"), task.chance),
        "metrics": {name: asdict(one) for name, one in result.figures.items()},
        "baselines": {
            one.name: {"value": one.value, "n": len(one.values)} for one in result.baselines if one.name != "chance"
        },
        "verdict": {"outcome": result.worth.outcome, "text": result.worth.text},
        "groups": {name: asdict(one) for name, one in result.groups.items()},
        "published": [one.plain() for one in task.published],
        "cautions": list(task.cautions),
        "notes": result.notes,
        **({"contamination": result.contamination} if result.contamination else {}),
        **({"familiarity": result.familiarity} if result.familiarity else {}),
    }


def harness_row(result: TaskResult) -> dict[str, Any]:
    """The figures as lm-evaluation-harness writes them: "acc,none" and its standard error."""
    task = result.prepared.task
    row: dict[str, Any] = {"alias": task.name}
    for name, one in result.scored.metrics.items():
        key = task.harness.get(name, name)
        key = f"exact_match,{name}-{_FILTERS[name]}" if name in _FILTERS else f"{key},none"
        row[key] = result.figures[name].value
        stem, filter_name = key.split(",")
        if one.weights is None and not one.finish and len(one.values) > 1:
            row[f"{stem}_stderr,{filter_name}"] = float(one.values.std(ddof=1) / math.sqrt(len(one.values)))
    return row


_FILTERS = {"strict": "match", "flexible": "extract"}


def item_rows(results: Sequence[TaskResult]) -> list[dict[str, Any]]:
    """One row per task, item and metric."""
    rows = []
    for result in results:
        for metric, one in result.scored.metrics.items():
            weights = np.ones_like(one.values) if one.weights is None else one.weights
            for item, value, weight in zip(result.prepared.items, one.values, weights, strict=True):
                rows.append({
                    "task": result.prepared.task.name, "item": item.id, "cluster": item.cluster, "metric": metric,
                    "value": float(value), "weight": float(weight),
                })  # fmt: skip
    return rows


def choice_rows(results: Sequence[TaskResult]) -> list[dict[str, Any]]:
    """The raw scores, one row per choice, from which every metric can be computed."""
    rows = []
    for result in results:
        for item, one in zip(result.prepared.items, result.choices, strict=False):
            for at in range(len(one.logprobs)):
                rows.append({
                    "task": result.prepared.task.name, "item": item.id, "choice": at,
                    "logprob": float(one.logprobs[at]),
                    "unconditional": None if one.unconditional is None else float(one.unconditional[at]),
                    "chars": int(one.chars[at]), "bytes": int(one.bytes[at]), "tokens": int(one.tokens[at]),
                    "greedy": bool(one.greedy[at]), "gold": at in one.gold, "text": item.shown[at],
                })  # fmt: skip
    return rows


def _items_schema() -> Any:
    import pyarrow as pa

    return pa.schema([
        ("task", pa.string()), ("item", pa.string()), ("cluster", pa.string()), ("metric", pa.string()),
        ("value", pa.float64()), ("weight", pa.float64()),
    ])  # fmt: skip
