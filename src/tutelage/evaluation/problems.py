"""Held-out problems with verifiable answers: share solved before and after, against the best constant answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.figures import Comparison, Figure, figure, row
from tutelage.evaluation.paired import Resampling, compare_all
from tutelage.evaluation.statistics import bootstrap_mean, wilson
from tutelage.store.jsonl import read_rows

SOLVED, SAMPLED = "solved", "solved, sampled"
CONSTANT = "constant"


def problem_figures(
    who: str, parent: str | None, model: Path, config: EvaluateConfig, seed: int
) -> tuple[list[Figure], list[Comparison], list[dict[str, Any]]]:
    """Figures, comparisons and samples from the grades of the stage, before and after, on the same problems."""
    graded = read_rows(model / "data" / "graded.jsonl")
    metrics = json.loads((model / "manifest.json").read_text(encoding="utf-8"))["metrics"]
    before, n, how = parent or "before", len(graded), Resampling.of(config, seed)
    title = f"problems of {who}"
    parties = {before: "before", who: "after"}
    solved = {name: [bool(one[side]["solved"]) for one in graded] for name, side in parties.items()}
    kinds = {}
    if "constant" in graded[0]:
        solved[CONSTANT], kinds[CONSTANT] = [bool(one["constant"]) for one in graded], "baseline"
    rows = [row(name, wilson(sum(hits), n, config.confidence), n, kinds.get(name, "model"))
            for name, hits in solved.items()]  # fmt: skip
    note = f"{n} held-out problems, greedy; solved: the maximum of the reward {metrics['solved_by']!r}."
    figures = [figure(title, SOLVED, "share", True, rows, note)]
    comparisons = compare_all(SOLVED, solved, [(who, other) for other in solved if other != who], how, shares=True)
    if k := len(graded[0]["after"]["sampled"]):
        sampled = {name: [sum(one[side]["sampled"]) / k for one in graded] for name, side in parties.items()}
        rows = [row(name, bootstrap_mean(values, **how.options), n) for name, values in sampled.items()]
        note = f"Mean of {k} sampled answers to each problem."
        figures.append(figure(title, SAMPLED, "share", True, rows, note))
        points = {name: [100 * value for value in values] for name, values in sampled.items()}
        comparisons += compare_all(SAMPLED, points, [(who, before)], how, unit="points")
    samples = [
        {"kind": "answer", "set": who, "prompt": str(one["prompt"]), "reference": str(one.get("gold", "")),
         "outputs": {name: str(one[side]["answer"]) for name, side in parties.items()}}
        for one in graded[: config.samples]
    ]  # fmt: skip
    return figures, comparisons, samples
