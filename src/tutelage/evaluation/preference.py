"""Held-out pairs: how often the finetuned model's reward puts the chosen answer above the rejected one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.figures import Comparison, Figure, comparison, figure, row
from tutelage.evaluation.statistics import Difference, sign_test, wilson
from tutelage.evaluation.verdicts import verdict

REWARD = "reward accuracy"


def pair_figures(who: str, model: Path, config: EvaluateConfig) -> tuple[list[Figure], list[Comparison]]:
    """From what the stage measured on its own held-out pairs; nothing where it measured none.

    The reward is the log-ratio of the model and the one it began with, so that one is at chance by construction.
    """
    metrics = json.loads((model / "manifest.json").read_text(encoding="utf-8"))["metrics"]
    accuracy, n = metrics.get("heldout_reward_accuracy"), metrics.get("heldout_pairs")
    if accuracy is None or not n:
        return [], []
    wins = round(float(accuracy) * n)
    share = wilson(wins, n, config.confidence)
    low, high = (None if bound is None else (bound - 0.5) * 100 for bound in (share.low, share.high))
    deviation = float(np.std([100.0] * wins + [0.0] * (n - wins)))
    difference = Difference((wins / n - 0.5) * 100, low, high, sign_test(wins, n - wins), n, deviation=deviation)
    said = verdict(who, "chance", difference, unit="points", confidence=config.confidence, digits=1, shares=True)
    note = f"{n} held-out pairs; the model before is at chance by construction. Log-ratios are summed over the answer."
    rows = [row(who, share, n), row("chance", 0.5, n, "baseline")]
    return (
        [figure(f"pairs of {who}", REWARD, "share", True, rows, note)],
        [comparison(who, "chance", REWARD, difference, said, note=" (sign test)")],
    )
