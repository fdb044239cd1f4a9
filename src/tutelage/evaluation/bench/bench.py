"""Measure a model on tasks, from task names to a results folder."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tutelage.evaluation.bench.cache import AnswerCache
from tutelage.evaluation.bench.contamination import overlap, texts_of
from tutelage.evaluation.bench.familiar import familiarity
from tutelage.evaluation.bench.items import Prepared, prepare
from tutelage.evaluation.bench.protocol import Measured, Request
from tutelage.evaluation.bench.result import TaskResult, measure, with_contamination
from tutelage.evaluation.bench.run import ask_all
from tutelage.evaluation.bench.sources import data_folders
from tutelage.evaluation.bench.task import BenchTask, find_task
from tutelage.training.distributed.world import World

BLIND_ITEMS = 1000  # limit of items for the answer-only baseline, which does not require more


@dataclass(frozen=True)
class Wanted:
    """A requested task: by name or file, or already read, with its number of items and shots."""

    task: str | BenchTask
    limit: int | None = None
    shots: int | None = None


Progress = Callable[[str, int, int], None]


def prepare_all(wanted: Sequence[Wanted], folders: Sequence[Path] = ()) -> list[Prepared]:
    """Read all tasks and their data before any model runs. Raises ConfigError and InputError like `prepare`."""
    made = []
    for one in wanted:
        task, beside = (one.task, Path()) if isinstance(one.task, BenchTask) else find_task(one.task)
        made.append(prepare(task, data_folders(beside, folders), one.limit, one.shots))
    return made


def run_benchmarks(
    model: Measured,
    prepared: Sequence[Prepared],
    cache: AnswerCache | None = None,
    progress: Progress | None = None,
    answer_only: bool = True,
    world: World = World(),
) -> list[TaskResult]:
    """Measure a model on prepared tasks. answer_only: also score choices without their questions, on at most 1,000
    items (fixed seed), to show how much the choices alone reveal."""
    cache = cache or AnswerCache(None)
    results = []
    for one in prepared:
        name = one.task.name
        able = answer_only and model.empty_context and one.task.kind == "choice"
        blind = _blind(one) if able else []
        among = set(blind)
        requests: list[Request] = [
            request for at, item in enumerate(one.items) for request in item.requests(blind=at in among)
        ]

        def said(done: int, total: int, name: str = name) -> None:
            if progress is not None:
                progress(name, done, total)

        asked = ask_all(model, requests, cache, said, world)
        results.append(measure(one, asked, blind))
    return results


def check_contamination(results: Sequence[TaskResult], documents: Iterable[str]) -> list[TaskResult]:
    """The same results, each with separate scores for items that occur in the documents and items that do not."""
    texts = {(one.prepared.task.name, item.id): texts_of(item.row) for one in results for item in one.prepared.items}
    found = overlap(texts, documents)
    return [with_contamination(one, found) for one in results]


def check_familiarity(results: Sequence[TaskResult], model: Measured, unseen: Sequence[str]) -> list[TaskResult]:
    """The same results, each with a test of whether its items are more familiar to the model than unseen texts."""
    return [replace(one, familiarity=familiarity(model, one.prepared.items, unseen)) for one in results]


def _blind(prepared: Prepared) -> list[int]:
    able = [at for at, item in enumerate(prepared.items) if item.blind is not None]
    if len(able) <= BLIND_ITEMS:
        return able
    return sorted(random.Random(0).sample(able, BLIND_ITEMS))
