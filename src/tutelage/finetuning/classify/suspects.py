"""Possibly mislabelled training texts: the label is unlikely by an out-of-fold fit (Northcutt et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.finetuning.data import Row

SUSPECTED = "suspected.jsonl"
UNLIKELY = 0.1  # threshold on the given label's probability; lower for labels that rarely get a high one
MOST = 200  # maximum number written


def suspected(rows: Sequence[Row], labels: Sequence[str], unseen: NDArray[np.floating[Any]]) -> list[dict[str, Any]]:
    """Suspect rows, most doubtful first, each with the likelier label and both probabilities.

    unseen: out-of-fold probabilities [rows, labels]. A rare label, which gets low probabilities even on its own rows,
    is only doubted far below its usual probability.
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
