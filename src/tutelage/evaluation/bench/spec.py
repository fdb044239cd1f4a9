"""Benchmark items as a stage, so that a corpus can be decontaminated against them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tutelage.store.config import Config
from tutelage.store.stage import Forecast, Job, StageSpec

ROWS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".txt", ".gz", ".zst")


class BenchmarkItems(Config):
    """`tasks`: names of benchmarks, task files, or files with rows of your own."""

    tasks: tuple[str, ...]


def items_of(config: BenchmarkItems) -> Iterator[tuple[str, str, list[str]]]:
    """(task, item id, texts) of every row of every task.

    Raises ConfigError for an unknown task, InputError if its data is missing.
    """
    from tutelage.evaluation.bench.contamination import texts_of
    from tutelage.evaluation.bench.sources import data_folders, read_file, read_rows, row_sha256
    from tutelage.evaluation.bench.task import find_task

    for name in config.tasks:
        path = Path(name).expanduser()
        if path.suffix in ROWS and path.is_file():
            task, rows = path.name, read_file(path)
        else:
            found, beside = find_task(name)
            task, rows = found.name, read_rows(found.data, data_folders(beside), found.name)[0]
        for row in rows:
            yield task, row_sha256(row)[:12], list(dict.fromkeys(texts_of(row)))


def _run(job: Job) -> dict[str, Any]:
    from tutelage.corpus.benchmark_items import FILE, write_items

    counts = {"items": 0, "tasks": len(job.config.tasks)}

    def counted() -> Iterator[tuple[str, str, list[str]]]:
        for item in items_of(job.config):
            counts["items"] += 1
            yield item

    write_items(job.out / FILE, counted())
    return dict(counts)


def _identity(config: BenchmarkItems) -> dict[str, str]:
    from tutelage.store.hashing import sha256_json

    return {"items": sha256_json(list(items_of(config)))}


SPEC = StageSpec(
    kind="benchmarks",
    version=1,
    title="Benchmark items",
    config=BenchmarkItems,
    run=_run,
    makes="data",
    identity=_identity,
    forecast=lambda config, facts, machine: Forecast.about(0.4 * len(config.tasks), 0.2, 5),  # mostly reading rows
    headline=("tasks", "items"),
)
