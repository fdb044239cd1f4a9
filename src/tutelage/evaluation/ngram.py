"""Interpolated modified Kneser-Ney n-gram model over token ids, counted and scored with numpy sorts.

Source: Chen & Goodman 1998, "An Empirical Study of Smoothing Techniques for Language Modeling", section 3; n-grams at
the start of a document keep their raw counts, because nothing can precede them (Heafield et al. 2013).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Order:
    """The k-grams of one order. A k-gram is its key: (index of its first k-1 tokens) * V + last token.

    `keys` [G] is sorted and the position in it is the k-gram's index; `discounted` [G] is count - D(count);
    `total` and `backoff` [number of (k-1)-grams] belong to the context.
    """

    keys: Ids
    discounted: Floats
    total: Floats
    backoff: Floats


@dataclass(frozen=True)
class NGram:
    """A trained model: one table per order, lowest first, above a uniform distribution of 1 / vocab_size."""

    vocab_size: int
    eos_id: int
    tables: tuple[_Order, ...]

    @classmethod
    def train(
        cls,
        documents: Sequence[ArrayLike],
        vocab_size: int,
        order: int,
        eos_id: int = 0,
        counted: Callable[[int], None] = lambda k: None,
    ) -> NGram:
        """Train on documents (lists of token ids). Each starts after `eos_id` and ends by predicting it.

        `counted` is called after each order.
        """
        stream, place = _stream(documents, eos_id, closed=True)
        grams, suffixes = _grams(stream, place, vocab_size, order, counted)
        tables = []
        for k in range(1, order + 1):
            keys, _, counts = grams[k - 1]
            if len(keys) == 0:
                break  # no document is long enough for this order
            if k < order:
                # Lower orders count the distinct tokens that precede a k-gram instead of its occurrences; k-grams at
                # the document start have no predecessor and keep their count.
                continuations = np.bincount(suffixes[k], minlength=len(keys))
                counts = np.where(continuations > 0, continuations, counts)
            contexts = 1 if k == 1 else vocab_size if k == 2 else len(grams[k - 2][0])
            tables.append(_table(keys, counts, contexts, vocab_size))
        return cls(vocab_size, eos_id, tuple(tables))

    def logprob(self, documents: Sequence[ArrayLike]) -> list[Floats]:
        """Natural log-probability of each token of each document, given the tokens before it in the document.

        The end of the document is not scored.
        """
        stream, place = _stream(documents, self.eos_id, closed=False)
        probability = self._probability(stream, place)
        with np.errstate(divide="ignore"):  # impossible tokens have a log-probability of minus infinity
            logs = np.log(probability[place > 0])
        lengths = [len(np.asarray(document)) for document in documents]
        return np.split(logs, np.cumsum(lengths)[:-1]) if lengths else []

    def distribution(self, context: Sequence[int]) -> Floats:
        """Probability of every token [vocab_size] after `context`, the tokens of a document so far."""
        documents = [[*context, token] for token in range(self.vocab_size)]
        stream, place = _stream(documents, self.eos_id, closed=False)
        last: Floats = self._probability(stream, place)[place == len(context) + 1]
        return last

    def _probability(self, stream: Ids, place: Ids) -> Floats:
        """Probability of each stream position, interpolated over the orders; undefined at a document start."""
        probability = np.full(len(stream), 1.0 / self.vocab_size)
        index: Ids = np.zeros(len(stream), dtype=np.int64)  # of the (k-1)-gram ending here; -1: unseen
        for k, table in enumerate(self.tables, 1):
            context = np.zeros_like(index) if k == 1 else _shifted(stream if k == 2 else index)
            context[place < max(1, k - 1)] = -1
            known = context >= 0
            found, index = _look_up(table.keys, context * self.vocab_size + stream, known)
            here = np.flatnonzero(known & (table.total[context] > 0))
            owner = context[here]
            seen = np.where(found[here], table.discounted[index[here]], 0.0)
            probability[here] = seen / table.total[owner] + table.backoff[owner] * probability[here]
        return probability


def _stream(documents: Sequence[ArrayLike], eos_id: int, closed: bool) -> tuple[Ids, Ids]:
    """All documents concatenated, each after eos (if closed, also before one); and positions within the documents."""
    end = [eos_id] if closed else []
    parts = [np.concatenate(([eos_id], np.asarray(d, dtype=np.int64), end)).astype(np.int64) for d in documents]
    if not parts:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    return np.concatenate(parts), np.concatenate([np.arange(len(part)) for part in parts])


def _grams(
    stream: Ids, place: Ids, vocab_size: int, order: int, counted: Callable[[int], None]
) -> tuple[list[tuple[Ids, Ids, Ids]], dict[int, Ids]]:
    """For each order k: (sorted keys, index of the k-gram ending at each position or -1, counts); and for
    each k < order the index of the k-gram in which every (k+1)-gram ends.
    """
    grams: list[tuple[Ids, Ids, Ids]] = []
    suffixes: dict[int, Ids] = {}
    for k in range(1, order + 1):
        # The context of a 2-gram is a token, so the document start is a context although it is never predicted.
        context = np.zeros_like(stream) if k == 1 else _shifted(stream if k == 2 else grams[-1][1])
        here = np.flatnonzero(place >= max(1, k - 1))
        keys, first, inverse, counts = np.unique(
            context[here] * vocab_size + stream[here],
            return_index=True,
            return_inverse=True,
            return_counts=True,
        )
        index = np.full(len(stream), -1, dtype=np.int64)
        index[here] = inverse
        if k > 1:
            suffixes[k - 1] = grams[-1][1][here[first]]
        grams.append((keys, index, counts.astype(np.int64)))
        counted(k)
    return grams, suffixes


def _table(keys: Ids, counts: Ids, contexts: int, vocab_size: int) -> _Order:
    """Discounted counts and context weights of one order."""
    discount = _discounts(counts)[np.minimum(counts, 3)]
    owner = keys // vocab_size
    total: Floats = np.bincount(owner, weights=counts, minlength=contexts).astype(np.float64)
    removed: Floats = np.bincount(owner, weights=discount, minlength=contexts).astype(np.float64)
    backoff = np.divide(removed, total, out=np.ones(contexts), where=total > 0)
    return _Order(keys, counts - discount, total, backoff)


def _discounts(counts: Ids) -> Floats:
    """D(0..3+) by Chen & Goodman equation 26; 0.5, 1, 1.5 if the counts of counts are too few or degenerate."""
    n1, n2, n3, n4 = (int((counts == j).sum()) for j in (1, 2, 3, 4))
    usual = np.array([0.0, 0.5, 1.0, 1.5])
    if min(n1, n2, n3, n4) == 0:
        return usual
    y = n1 / (n1 + 2 * n2)
    estimated = np.array([0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    # Degenerate counts of counts can give a discount outside (0, j]: above the count, a probability would be negative;
    # without a discount, unseen tokens would be impossible.
    sensible: Floats = np.where((estimated > 0) & (estimated <= [0, 1, 2, 3]), estimated, usual)
    return sensible


def _look_up(keys: Ids, wanted: Ids, known: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], Ids]:
    """Whether each key exists, and its index (-1 if not)."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found = known & (keys[at] == wanted)
    return found, np.where(found, at, -1)


def _shifted(values: Ids) -> Ids:
    """The values one position earlier (-1 before the first)."""
    return np.concatenate((np.array([-1], dtype=np.int64), values[:-1]))
