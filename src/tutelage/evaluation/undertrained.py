"""Under-trained tokens: in the vocabulary, but never or rarely in the training text (Land & Bartolo 2024).

The loss pushes down the logits of tokens that are never a target at every position, so their rows of the output layer
all move the same way: rows near the mean row of known unseen tokens are under-trained. With tied embeddings this holds
for both layers. `seen` comes from the corpus, if there is one.
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

SELDOM = 3  # a token that occurs fewer times in the training text counts as unseen
NEAR = 0.8  # a token is suspect from this cosine to the mean row of unseen tokens
_BATCH = 512
_REFERENCE_SHARE = 0.02  # share of the vocabulary, with the smallest norms, used if the text is unknown
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Suspect:
    """An under-trained token. seen: occurrences in the training text (None: unknown); closeness: cosine of its output
    row with the mean row of unseen tokens; norm: of its embedding row."""

    id: int
    token: str
    seen: int | None
    closeness: float
    norm: float


@dataclass(frozen=True)
class Undertrained:
    """suspects: most certain first. agreement: area under the ROC curve of the closeness, for tokens seen once or twice
    against more frequent ones."""

    vocabulary: int
    unseen: int | None
    suspects: tuple[Suspect, ...]
    agreement: float | None

    def plain(self) -> dict[str, Any]:
        return {**asdict(self), "suspects": [asdict(one) for one in self.suspects]}


def times_seen(tok: Tokenizer, texts: Iterable[str]) -> NDArray[np.int64]:
    """Number of occurrences of each id in the texts [vocabulary]."""
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
    """Tokens that are unseen or near the unseen ones. embedding, output: [at least vocabulary, width].

    Rows beyond the vocabulary (matrix padding) are certainly unseen. Without `seen` they are the reference, or else the
    rows with the smallest norm.
    """
    size = tok.vocab_size
    rows = output.detach().double().cpu().numpy()
    rows = rows - rows[:size].mean(axis=0)  # remove the component that all tokens share
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
    judged[reference[reference < size]] = False  # rows that define the mean are near it by construction
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
    """How often an unseen token is nearer than a seen one; None if one kind is missing."""
    truth = unseen[judged]
    if not 0 < truth.sum() < len(truth):
        return None
    values = closeness[judged]
    return round(float(share_below(values[truth], values[~truth]).mean()), 4)


def _counted(tok: Tokenizer, texts: list[str]) -> NDArray[np.int64]:
    return np.bincount(tok.encode_flat(texts).ids, minlength=tok.vocab_size)
