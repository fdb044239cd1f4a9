"""A benchmark's result: from answers to figures, baselines and verdicts, written as one folder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
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
from tutelage.evaluation.bench.protocol import Measured
from tutelage.evaluation.bench.run import Asked
from tutelage.evaluation.bench.shortcuts import Baseline, Worth, answer_only, option_baselines, worth
from tutelage.store.artifacts import packages
from tutelage.store.device import machine
from tutelage.store.files import users_directory, write_json

FORMAT = 1


@dataclass(frozen=True)
class TaskResult:
    """All that is known of one task after it was asked. groups: the primary metric of each group."""

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


def measure(prepared: Prepared, asked: Asked, blind: Sequence[int]) -> TaskResult:
    """The figures of a task from the answers; blind: the items whose choices were asked without their questions."""
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
            notes.append(f"{unended} of {len(items)} answers did not end by themselves within {task.max_tokens} tokens")
    cuts = [_cut(item, asked) for item in items]
    if any(cuts):
        notes.append(
            f"{sum(cut > 0 for cut in cuts)} of {len(items)} items did not fit the context: up to {max(cuts)} tokens "
            "were left out at the beginning"
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
    primary = scored.metrics[task.metric]
    baselines: list[Baseline] = []
    if task.kind == "choice" and task.ideal is None:
        baselines = option_baselines(choices)
        by = task.metric if task.metric.startswith("acc") and task.metric != "acc_pmi" else "acc"
        alone = answer_only(choices, by, blind)
        baselines += [alone] if alone is not None else []
    return TaskResult(
        prepared, scored, figures, baselines, _worth(prepared, primary, figures[task.metric], baselines),
        _groups(prepared, primary), notes, choices, generations,
    )  # fmt: skip


def with_contamination(result: TaskResult, found: Overlap) -> TaskResult:
    """The same result with its score on the items that stand in the corpus, and on those that do not."""
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
            return Worth("too few items", f"n too small: {shown.n} items; 50 to 100 items are needed")
        side = "above" if shown.low > task.ideal else "below" if shown.high < task.ideal else "not off"
        return Worth("figure", f"{side} the fair value of {100 * task.ideal:g} %")
    if task.metric == "mass" or primary.weights is not None or primary.finish:
        return Worth("figure", "")
    if task.kind != "choice" and not task.chance:
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


def write_result(
    out: Path, model: Measured, results: Sequence[TaskResult], extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Write the folder `out` and return what is in its result.json; see docs/evaluation.md. Nothing of the user's that
    stands in the folder is lost."""
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
    """One row for each task, item and metric."""
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
    """The raw scores: one row for each choice, all that any metric needs."""
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
