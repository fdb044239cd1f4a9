"""How varied texts are, in numbers with intervals.

Every one of these measures changes with the size of the text, so each is taken of blocks of one size, and its interval
is that of a mean over blocks. Texts are not drawn twice, as a bootstrap of texts would: a copy is repetition, and that
is what is measured.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import numpy as np

from tutelage.corpus.scripts import units_of
from tutelage.corpus.selection.features import Floats, counts, sample_places, unit_rows
from tutelage.corpus.shelf import Shelf

BLOCK_WORDS = 2000
BLOCK_TEXTS = 100
BLOCKS = 32  # of each kind at most
_MOST_WORDS = 400  # of one text, so that a book is not a block
_MOST_CHARACTERS = 20_000  # of one text
_CONFIDENCE = 0.95
_VENDI_BUCKETS = 1 << 15


def variety_of(documents: Shelf, seed: int = 0) -> dict[str, Any]:
    """`variety` of as many documents as the blocks need, drawn by the seed: 3,200, of each the first 20,000
    characters."""
    drawn = documents.rows[sample_places(len(documents), BLOCKS * BLOCK_TEXTS, seed)]
    return variety([text[:_MOST_CHARACTERS] for text in documents.only(drawn).texts()], seed)


def variety(texts: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """Measures of blocks of texts in random order; each {value, low, high}, bounds None for a single block.

    `type_token`, `distinct_2`, `distinct_3`: distinct words, pairs and triples for each (Li et al. 2016);
    `word_entropy`, `pair_entropy`: in bits; `compression`: bytes for each byte after zlib level 9, the higher, the more
    repetition; `vendi`: Vendi score (Friedman & Dieng 2023), to how many unlike texts a block of 100 amounts.
    """
    order = np.random.default_rng(seed).permutation(len(texts))
    words = _word_blocks(texts, order)
    measures: dict[str, Any] = {"block_words": BLOCK_WORDS, "word_blocks": len(words)}
    for name, measure in _OF_WORDS.items():
        measures[name] = mean_interval([measure(block) for block in words])
    groups = [order[begin : begin + BLOCK_TEXTS] for begin in range(0, len(order) - BLOCK_TEXTS + 1, BLOCK_TEXTS)]
    measures |= {"block_texts": BLOCK_TEXTS, "text_blocks": len(groups[:BLOCKS])}
    measures["vendi"] = mean_interval([_vendi_of([texts[place] for place in group]) for group in groups[:BLOCKS]])
    return measures


def vendi(features: Floats) -> float:
    """exp of the entropy of the eigenvalues of the similarity matrix over n, for rows of length one [n, d].

    The d by d matrix of the features has the same eigenvalues but for zeros (the dual form): the smaller is taken.
    """
    n, d = features.shape
    gram = features.T @ features if d < n else features @ features.T
    values = np.linalg.eigvalsh(gram / n)
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def mean_interval(values: Sequence[float]) -> dict[str, float | None]:
    """Mean of blocks with Student's interval; None where there is nothing, or no bounds for one."""
    from scipy.special import stdtrit

    n = len(values)
    if not n:
        return {"value": None, "low": None, "high": None}
    mean = float(np.mean(values))
    if n == 1:
        return {"value": round(mean, 4), "low": None, "high": None}
    half = float(stdtrit(n - 1, (1 + _CONFIDENCE) / 2)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return {"value": round(mean, 4), "low": round(mean - half, 4), "high": round(mean + half, 4)}


def _word_blocks(texts: Sequence[str], order: np.ndarray[Any, Any]) -> list[list[str]]:
    blocks: list[list[str]] = []
    current: list[str] = []
    for place in order.tolist():
        current += units_of(texts[place])[:_MOST_WORDS]
        if len(current) >= BLOCK_WORDS:
            blocks.append(current[:BLOCK_WORDS])
            current = []
        if len(blocks) == BLOCKS:
            break
    return blocks


def _vendi_of(texts: Sequence[str]) -> float:
    matrix = unit_rows(counts([text[:_MOST_CHARACTERS] for text in texts], _VENDI_BUCKETS))
    used = np.unique(matrix.indices)
    return vendi(np.asarray(matrix[:, used].todense()))


def _grams(words: list[str], size: int) -> list[tuple[str, ...]]:
    return list(zip(*(islice(words, offset, None) for offset in range(size)), strict=False))


def _distinct(size: int) -> Callable[[list[str]], float]:
    def share(words: list[str]) -> float:
        found = _grams(words, size)
        return len(set(found)) / max(1, len(found))

    return share


def _entropy(size: int) -> Callable[[list[str]], float]:
    def bits(words: list[str]) -> float:
        found = Counter(_grams(words, size))
        total = found.total()
        return sum(count / total * math.log2(total / count) for count in found.values())

    return bits


def _compression(words: list[str]) -> float:
    data = " ".join(words).encode("utf-8")
    return len(data) / max(1, len(zlib.compress(data, 9)))


_OF_WORDS: dict[str, Callable[[list[str]], float]] = {
    "type_token": _distinct(1),
    "distinct_2": _distinct(2),
    "distinct_3": _distinct(3),
    "word_entropy": _entropy(1),
    "pair_entropy": _entropy(2),
    "compression": _compression,
}
