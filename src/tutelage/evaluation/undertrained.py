"""Tokens that a model has hardly trained: in the vocabulary, but never or seldom in the text (Land & Bartolo 2024).

What the loss pushes down everywhere it appears nowhere: rows of the output layer of tokens that never were a target all
move the same way, so those near the mean row of the tokens that are known to be unseen are under-trained. Where
embedding and output layer are one, that holds for both. `seen` comes from the corpus, where there is one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tutelage.corpus.selection.area import share_below
from tutelage.tokenizer.tokenizer import Tokenizer

SELDOM = 3  # times in the training text, below which a token counts as unseen
NEAR = 0.8  # cosine to the mean row of unseen tokens, from which on a token is suspected
_BATCH = 512
_REFERENCE_SHARE = 0.02  # of the vocabulary with the smallest rows, where nothing is known of the text
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Suspect:
    """A token that is under-trained. seen: times in the training text (None: not known); closeness: cosine of its row
    of the output layer with the mean row of unseen tokens; norm: of its row in the embedding."""

    id: int
    token: str
    seen: int | None
    closeness: float
    norm: float


@dataclass(frozen=True)
class Undertrained:
    """suspects: the surest first. agreement: area under the ROC curve of the closeness for tokens that were seen once
    or twice, against all that were seen oftener."""

    vocabulary: int
    unseen: int | None
    suspects: tuple[Suspect, ...]
    agreement: float | None

    def plain(self) -> dict[str, Any]:
        return {**asdict(self), "suspects": [asdict(one) for one in self.suspects]}


def times_seen(tok: Tokenizer, texts: Iterable[str]) -> NDArray[np.int64]:
    """How often each id stands in the texts [vocabulary]."""
    counts = np.zeros(tok.vocab_size, np.int64)
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == _BATCH:
            counts += _counted(tok, batch)
            batch = []
    return counts + _counted(tok, batch) if batch else counts


def undertrained(
    embedding: Tensor, output: Tensor, tok: Tokenizer, seen: NDArray[np.int64] | None = None
) -> Undertrained:
    """Tokens that are near the unseen ones, or are unseen. embedding, output: [at least vocabulary, width].

    Rows beyond the vocabulary (padding of the matrix) are unseen for certain. Without `seen` the reference is these, or
    else the rows with the smallest norm.
    """
    size = tok.vocab_size
    rows = output.detach().double().cpu().numpy()
    rows = rows - rows[:size].mean(axis=0)  # what all tokens share says nothing
    norms = embedding.detach().double().norm(dim=1).cpu().numpy()[:size]
    ordinary = np.array([index not in tok.control_ids for index in range(size)])
    reference = _reference(rows, norms, seen, size)
    mean = rows[reference].mean(axis=0)
    lengths = np.linalg.norm(rows[:size], axis=1) * np.linalg.norm(mean)
    closeness = rows[:size] @ mean / np.maximum(lengths, 1e-12)
    rare = np.zeros(size, bool) if seen is None else seen < SELDOM
    chosen = np.flatnonzero(ordinary & (rare | (closeness >= NEAR)))
    order = chosen[np.lexsort((chosen, -closeness[chosen]))]
    suspects = tuple(
        Suspect(
            int(at),
            tok.token_bytes(int(at)).decode("utf-8", "replace"),
            None if seen is None else int(seen[at]),
            round(float(closeness[at]), 4),
            round(float(norms[at]), 4),
        )
        for at in order
    )
    judged = ordinary.copy()
    judged[reference[reference < size]] = False  # what the mean is made of is near it by making
    agreement = None if seen is None else _agreement(closeness, judged, rare)
    return Undertrained(size, None if seen is None else int(rare[ordinary].sum()), suspects, agreement)


def _reference(rows: Floats, norms: Floats, seen: NDArray[np.int64] | None, size: int) -> NDArray[np.int64]:
    """Rows that are known, or else most likely, to be untrained."""
    beyond = np.arange(size, len(rows))
    if seen is not None and (seen == 0).any():
        return np.concatenate([np.flatnonzero(seen == 0), beyond])
    if len(beyond):
        return beyond
    return np.argsort(norms, kind="stable")[: max(1, int(_REFERENCE_SHARE * size))]


def _agreement(closeness: Floats, judged: NDArray[np.bool_], unseen: NDArray[np.bool_]) -> float | None:
    """How often an unseen token is nearer than a seen one; None where one kind is missing."""
    truth = unseen[judged]
    if not 0 < truth.sum() < len(truth):
        return None
    values = closeness[judged]
    return round(float(share_below(values[truth], values[~truth]).mean()), 4)


def _counted(tok: Tokenizer, texts: list[str]) -> NDArray[np.int64]:
    return np.bincount(tok.encode_flat(texts).ids, minlength=tok.vocab_size)
