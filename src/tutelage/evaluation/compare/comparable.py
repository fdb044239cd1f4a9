"""Check that results are comparable: the same data, prompts, versions and items, or an error naming the differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from tutelage.evaluation.compare.scores import Metric, Results
from tutelage.store.errors import InputError

Which = Literal["primary", "all"]
_SHOWN = 6  # differences listed in an error


def names_of(results: Sequence[Results]) -> list[str]:
    """Display names: each folder's name, or the full paths if these are equal."""
    names = [one.name for one in results]
    return names if len(set(names)) == len(names) else [one.place for one in results]


def missing_tasks(results: Sequence[Results], names: Sequence[str]) -> list[str]:
    """One line per task that is missing from some results."""
    every = list(dict.fromkeys(task for one in results for task in one.tasks))
    said = []
    for task in every:
        missing = [name for name, one in zip(names, results, strict=True) if task not in one.tasks]
        if missing:
            said.append(f"{task}: not in {', '.join(missing)}")
    return said


def check_comparable(results: Sequence[Results], tasks: Sequence[str], which: Which) -> dict[str, str]:
    """Require the same data, prompts, version and items. Raises InputError listing the differences. Tasks whose rows a
    run sampled itself are left out instead, if anything remains: task -> reason."""
    first, wrong = results[0], dict[str, list[str]]()
    for other in results[1:]:
        for task in tasks:
            if found := _unlike(first, other, task, which):
                wrong.setdefault(task, []).extend(found)
    if len(wrong) < len(tasks) and all(one.tasks[task].sampled for one in results for task in wrong):
        return {task: "; ".join(found) for task, found in wrong.items()}
    if wrong:
        every = [f"{task}: {text}" for task, found in wrong.items() for text in found]
        more = f"; and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
        raise InputError(
            f"not comparable: {'; '.join(every[:_SHOWN])}{more}",
            hint="evaluate both on the same data, prompts and --limit",
        )
    return {}


def _unlike(first: Results, other: Results, task: str, which: Which) -> list[str]:
    """Differences between two results of a task."""
    mine, theirs = first.tasks[task], other.tasks[task]
    differ = [key for key in mine.known if mine.known[key] != theirs.known.get(key)]
    if differ:
        return [
            f"{key} is {mine.known[key][:12]} in {first.place}, {str(theirs.known.get(key))[:12]} in {other.place}"
            for key in differ
        ]
    chosen = chosen_metrics(first, other, task, which)
    if not chosen:
        return [f"no metric in common ({', '.join(mine.metrics)}; {', '.join(theirs.metrics)})"]
    for metric in chosen:
        a, b = set(mine.metrics[metric].items), set(theirs.metrics[metric].items)
        if a != b:
            return [
                f"{len(a - b)} items only in {first.place}{_example(a - b)}, "
                f"{len(b - a)} only in {other.place}{_example(b - a)}"
            ]
    return []


def otherwise_weighed(results: Sequence[Results], tasks: Sequence[str], which: Which) -> list[str]:
    """Tasks whose item weights differ between results, such as per-token figures of different tokenizers."""
    first = results[0]
    return [
        task
        for task in tasks
        if any(
            not np.array_equal(
                first.tasks[task].metrics[name].weights,
                in_order(other.tasks[task].metrics[name], first, task, name).weights,
            )
            for other in results[1:]
            for name in chosen_metrics(first, other, task, which)
        )
    ]


def _example(items: set[str]) -> str:
    return f" (e.g. {min(items)})" if items else ""


def chosen_metrics(a: Results, b: Results, task: str, which: Which) -> list[str]:
    """The metrics to compare: the primary one, or all that both have."""
    mine, theirs = a.tasks[task], b.tasks[task]
    both = [metric for metric in mine.metrics if metric in theirs.metrics]
    if which == "all" or mine.primary not in both:
        return both
    return [mine.primary]


def in_order(metric: Metric, first: Results, task: str, name: str) -> Metric:
    """The scores reordered to the items of the first result."""
    place = {item: at for at, item in enumerate(metric.items)}
    items = first.tasks[task].metrics[name].items
    order = np.array([place[item] for item in items])
    return replace(metric, items=items, values=metric.values[order], weights=metric.weights[order], clusters=None)
