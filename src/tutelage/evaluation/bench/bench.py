"""Measuring a model on tasks, from names to a folder of results."""

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

BLIND_ITEMS = 1000  # at most so many items are asked without their question: the baseline needs no more


@dataclass(frozen=True)
class Wanted:
    """What to measure: a task by name or file, or one already read, with how many items and shots."""

    task: str | BenchTask
    limit: int | None = None
    shots: int | None = None


Progress = Callable[[str, int, int], None]


def prepare_all(wanted: Sequence[Wanted], folders: Sequence[Path] = ()) -> list[Prepared]:
    """Read all tasks and their data before any model is asked. Raises ConfigError and InputError as `prepare`."""
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
    """Measure a model on prepared tasks. answer_only: also ask choices without their questions, of a thousand items at
    most (drawn by a fixed seed); these show how much the choices alone give away."""
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
    """The same results, each with its score apart for items that stand in the documents and those that do not."""
    texts = {(one.prepared.task.name, item.id): texts_of(item.row) for one in results for item in one.prepared.items}
    found = overlap(texts, documents)
    return [with_contamination(one, found) for one in results]


def check_familiarity(results: Sequence[TaskResult], model: Measured, unseen: Sequence[str]) -> list[TaskResult]:
    """The same results, each with whether its items are more familiar to the model than texts it cannot have read."""
    return [replace(one, familiarity=familiarity(model, one.prepared.items, unseen)) for one in results]


def _blind(prepared: Prepared) -> list[int]:
    able = [at for at, item in enumerate(prepared.items) if item.blind is not None]
    if len(able) <= BLIND_ITEMS:
        return able
    return sorted(random.Random(0).sample(able, BLIND_ITEMS))
