"""Training texts whose label looks wrong: a fit that has not seen them finds it unlikely (Northcutt et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.finetuning.data import Row

SUSPECTED = "suspected.jsonl"
UNLIKELY = 0.1  # probability of the given label; less where that label seldom gets much
MOST = 200  # that are written


def suspected(rows: Sequence[Row], labels: Sequence[str], unseen: NDArray[np.floating[Any]]) -> list[dict[str, Any]]:
    """The most doubtful rows first, each with the label that is likelier and the probability of both.

    unseen: [rows, labels] probabilities by fits that have not seen the row. A label that such fits give little even to
    its own rows (a rare one) is only doubted where it gets far less than they usually give it.
    """
    number = {label: index for index, label in enumerate(labels)}
    given = np.array([number[row["label"]] for row in rows])
    own = unseen[np.arange(len(rows)), given]
    usual = np.array([own[given == index].mean() if (given == index).any() else 1.0 for index in range(len(labels))])
    other = unseen.argmax(axis=1)
    doubtful = np.flatnonzero((other != given) & (own < UNLIKELY * np.minimum(1.0, 2 * usual[given])))
    ranked = doubtful[np.argsort((own - unseen.max(axis=1))[doubtful], kind="stable")][:MOST]
    return [
        {**rows[at], "probability": round(float(own[at]), 4), "likelier": labels[other[at]],
         "its_probability": round(float(unseen[at, other[at]]), 4)}
        for at in ranked
    ]  # fmt: skip
