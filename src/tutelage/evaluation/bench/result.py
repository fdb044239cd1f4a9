"""Compute figures, baselines and verdicts from answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from tutelage.evaluation.bench.contamination import WORDS, Overlap
from tutelage.evaluation.bench.grading import found_answers, grades
from tutelage.evaluation.bench.items import Item, Prepared
from tutelage.evaluation.bench.metrics import (
    Choices,
    Figure,
    PerItem,
    Scored,
    calibration,
    choice_scores,
    figure,
    is_share,
    likelihood_scores,
    rolling_scores,
    words_in,
)
from tutelage.evaluation.bench.run import Asked
from tutelage.evaluation.bench.shortcuts import (
    Baseline,
    Worth,
    answer_only,
    option_baselines,
    trivial_answers,
    worth,
)


@dataclass(frozen=True)
class TaskResult:
    """The complete result of one task. groups: the primary metric of each group."""

    prepared: Prepared
    scored: Scored
    figures: dict[str, Figure]
    baselines: list[Baseline]
    worth: Worth
    groups: dict[str, Figure]
    notes: list[str]
    choices: list[Choices] = field(default_factory=list)
    generations: list[dict[str, Any]] = field(default_factory=list)
    contamination: dict[str, Any] | None = None
    familiarity: dict[str, Any] | None = None


def measure(prepared: Prepared, asked: Asked, blind: Sequence[int]) -> TaskResult:
    """The figures of a task from the answers; blind: items whose choices were also scored without their questions."""
    task, items = prepared.task, prepared.items
    choices: list[Choices] = []
    generations: list[dict[str, Any]] = []
    notes = list(prepared.notes)
    if task.kind == "choice":
        without = set(blind)
        choices = [_choices(item, asked, at in without) for at, item in enumerate(items)]
        scored = choice_scores(choices)
    elif task.kind == "likelihood":
        choices = [_choices(item, asked, False) for item in items]
        scored = likelihood_scores(
            np.array([one.logprobs[0] for one in choices]),
            np.array([float(one.greedy[0]) for one in choices]),
            np.array([one.bytes[0] for one in choices]),
        )
    elif task.kind == "rolling":
        rolls = [item.roll for item in items if item.roll is not None]
        scored = rolling_scores(
            np.array([asked.likelihood(roll).logprob for roll in rolls]),
            np.array([float(len(roll.text.encode())) for roll in rolls]),
            np.array([float(words_in(roll.text)) for roll in rolls]),
        )
    else:
        scored, generations = _generated(prepared, asked)
        unended = sum(not row["ended"] for row in generations)
        if unended:
            notes.append(f"{unended} of {len(items)} answers were truncated at {task.max_tokens} tokens")
    cuts = [_cut(item, asked) for item in items]
    if any(cuts):
        notes.append(
            f"{sum(cut > 0 for cut in cuts)} of {len(items)} items exceeded the context: up to {max(cuts)} tokens "
            "were truncated at the beginning"
        )
    return _figured(prepared, scored, choices, generations, notes + scored.notes, blind)


def _figured(
    prepared: Prepared, scored: Scored, choices: list[Choices], generations: list[dict[str, Any]], notes: list[str],
    blind: Sequence[int],
) -> TaskResult:  # fmt: skip
    task, items = prepared.task, prepared.items
    clusters = [item.cluster for item in items] if task.cluster else None
    figures = {name: figure(name, one, clusters) for name, one in scored.metrics.items()}
    if scored.confidence is not None:
        figures["ece"] = calibration(*scored.confidence)
    if task.ideal is not None:  # as in lm-evaluation-harness: preferring the stereotype is not a success
        figures = {name: replace(one, higher_is_better=False) for name, one in figures.items()}
    primary = scored.metrics[task.metric]
    baselines: list[Baseline] = []
    if task.kind == "choice" and task.ideal is None:
        baselines = option_baselines(choices, task.chance)
        by = task.metric if task.metric.startswith("acc") and task.metric != "acc_pmi" else "acc"
        alone = answer_only(choices, by, blind)
        baselines += [alone] if alone is not None else []
    baselines += trivial_answers(task, items)
    return TaskResult(
        prepared, scored, figures, baselines, _worth(prepared, primary, figures[task.metric], baselines),
        _groups(prepared, primary), notes, choices, generations,
    )  # fmt: skip


def with_contamination(result: TaskResult, found: Overlap) -> TaskResult:
    """The same result with separate scores for items that occur in the corpus and items that do not."""
    task, items = result.prepared.task, result.prepared.items
    shares = [found.found.get((task.name, item.id)) for item in items]
    primary = result.scored.metrics[task.metric]
    sides = {"clean": [at for at, share in enumerate(shares) if not share],
             "overlapping": [at for at, share in enumerate(shares) if share]}  # fmt: skip
    told: dict[str, Any] = {
        "words": WORDS, "documents": found.documents, "corpus_words": found.words,
        "items": len(sides["overlapping"]), "too_short": sum(share is None for share in shares),
    }  # fmt: skip
    for name, at in sides.items():
        weights = None if primary.weights is None else primary.weights[at]
        part = PerItem(primary.values[at], weights, primary.finish)
        told[name] = asdict(figure(task.metric, part)) if at else None
    return replace(result, contamination=told)


def _worth(prepared: Prepared, primary: PerItem, shown: Figure, baselines: list[Baseline]) -> Worth:
    task = prepared.task
    if task.ideal is not None:
        if shown.low is None or shown.high is None or shown.n < 10:
            return Worth("too few items", f"n too small: {shown.n} items; 50 to 100 are required")
        side = "above" if shown.low > task.ideal else "below" if shown.high < task.ideal else "not distinguishable from"
        return Worth("figure", f"{side} the fair value of {100 * task.ideal:g} %")
    if task.metric == "mass" or not is_share(task.metric):
        return Worth("figure", "")
    if task.kind != "choice" and not task.chance and not baselines:
        return Worth("figure", "")
    clusters = [item.cluster for item in prepared.items] if task.cluster else None
    return worth(primary, baselines, task.chance, clusters)


def _groups(prepared: Prepared, primary: PerItem) -> dict[str, Figure]:
    names = [item.group for item in prepared.items]
    found = {}
    for name in sorted({one for one in names if one is not None}):
        at = [index for index, one in enumerate(names) if one == name]
        weights = None if primary.weights is None else primary.weights[at]
        found[name] = figure(prepared.task.metric, PerItem(primary.values[at], weights, primary.finish))
    return found


def _choices(item: Item, asked: Asked, blind: bool) -> Choices:
    scores = [asked.likelihood(pair) for pair in item.pairs]
    without = None
    if blind and item.blind is not None:
        without = np.array([asked.likelihood(pair).logprob for pair in item.blind])
    return Choices(
        np.array([score.logprob for score in scores]),
        without,
        np.array([float(max(1, len(text))) for text in item.shown]),
        np.array([float(max(1, len(text.encode()))) for text in item.shown]),
        np.array([float(score.tokens) for score in scores]),
        np.array([score.greedy for score in scores]),
        item.gold,
    )


def _generated(prepared: Prepared, asked: Asked) -> tuple[Scored, list[dict[str, Any]]]:
    task, values, rows = prepared.task, dict[str, list[float]](), list[dict[str, Any]]()
    for item in prepared.items:
        assert item.ask is not None
        written = asked.written(item.ask)
        graded = grades(task, item, written.text)
        for name, value in graded.items():
            values.setdefault(name, []).append(value)
        rows.append({
            "task": task.name, "item": item.id, "prompt": item.ask.prompt, "text": written.text,
            "ended": written.ended, "found": found_answers(task.extract, written.text), "targets": list(item.targets),
            "grades": graded,
        })  # fmt: skip
    return Scored({name: PerItem(np.array(each)) for name, each in values.items()}), rows


def _cut(item: Item, asked: Asked) -> int:
    return max((asked.answers[request].cut for request in item.requests(blind=False)), default=0)
