"""Scores of single items, as `compare` reads them from whatever kept them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """One metric of one task, item by item: sum(values * weights) / sum(weights).

    clusters: the package (passage, source) of each item, or None where none is known.
    """

    items: tuple[str, ...]
    values: Floats
    weights: Floats
    clusters: tuple[str | None, ...] | None = None
    higher_is_better: bool = True

    @cached_property
    def is_share(self) -> bool:
        """Whether every item is right, wrong or half right, each counting the same."""
        return bool(np.isin(self.values, (0.0, 0.5, 1.0)).all() and (self.weights == self.weights[0]).all())

    @property
    def value(self) -> float:
        return float((self.values * self.weights).sum() / self.weights.sum())


@dataclass(frozen=True)
class TaskScores:
    """What makes two results of a task comparable (`known`: hash of its data, prompt, version ...), and its metrics.

    primary: the metric that decides. cautions: what its figures do not say. sampled: its rows may be what the model of
    this very run wrote, which no other run has.
    """

    known: dict[str, str]
    metrics: dict[str, Metric]
    primary: str
    cautions: tuple[str, ...] = ()
    sampled: bool = False


@dataclass(frozen=True)
class Results:
    """All that one folder holds. `name` is said in verdicts, `tasks` by name; left_out: what cannot be compared."""

    name: str
    place: str
    tasks: dict[str, TaskScores] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
