"""Unigram training (Kudo 2018, "Subword Regularization", section 3.2): EM over segmentations, then pruning.

The library's own trainer gives another vocabulary at every call, because it walks hash maps in random order.
This one is deterministic, and small, because the sums over segmentations are done for all words at once.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.signedinteger[Any]]

_LONGEST_PIECE, _LONGEST_WORD = 16, 48
_MOST_WORDS = 100_000  # rarer words hardly change the sums, and each costs memory
_SEEDS_PER_ID = 10
_SHRINK, _ROUNDS_OF_EM = 0.75, 2
_AT_ONCE = 10_000  # pieces whose loss is reckoned at a time, for the sake of memory


@dataclass(frozen=True)
class Lattice:
    """All segmentations of every word: edge e of word `word[e]` covers characters start[e]:end[e]."""

    word: Ints
    start: Ints
    end: Ints
    piece: Ints
    lengths: Ints


def train_unigram(
    counts: Counter[str], alphabet: list[str], size: int, progress: Callable[[int, int], None]
) -> list[tuple[str, float]]:
    """Pieces and their natural-log probabilities, most probable first; at most `size` of them.

    counts: how often each word occurs. alphabet: single characters that are always kept.
    progress(done, total) is called after each pruning.
    """
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_MOST_WORDS]
    words = [word[:_LONGEST_WORD] for word, _ in ordered]
    weights = np.array([count for _, count in ordered], dtype=np.float64)
    pieces, frequency = _seeds(words, weights, alphabet, size)
    logp = _normalised(frequency)
    lattice = _lattice(words, {piece: index for index, piece in enumerate(pieces)})
    rounds = max(1, math.ceil(math.log(max(len(pieces) / size, 1.01)) / -math.log(_SHRINK)))
    done = 0
    while True:
        for _ in range(_ROUNDS_OF_EM):
            expected = _expected(lattice, weights, logp)
            logp = _normalised(expected)
        if len(pieces) <= size:
            break
        keep = _worth_keeping(pieces, logp, expected, set(alphabet), max(size, int(len(pieces) * _SHRINK)))
        pieces, logp = [pieces[index] for index in keep], logp[keep]
        lattice = _restricted(lattice, keep)
        done += 1
        progress(min(done, rounds), rounds)
    order = sorted(range(len(pieces)), key=lambda index: (-round(float(logp[index]), 6), pieces[index]))
    return [(pieces[index], round(float(logp[index]), 6)) for index in order]


def _seeds(words: list[str], weights: Floats, alphabet: list[str], size: int) -> tuple[list[str], Floats]:
    """The substrings that cover most text, and every character of the alphabet."""
    found: Counter[str] = Counter()
    for word, weight in zip(words, weights.tolist(), strict=True):
        for start in range(len(word)):
            for end in range(start + 1, min(start + _LONGEST_PIECE, len(word)) + 1):
                found[word[start:end]] += weight
    single = set(alphabet)
    longer = [(piece, count) for piece, count in found.items() if piece not in single and count > 1]
    longer.sort(key=lambda item: (-item[1] * len(item[0]), item[0]))
    longer = longer[: _SEEDS_PER_ID * size]
    pieces = [*alphabet, *(piece for piece, _ in longer)]
    frequency = [max(found[char], 1.0) for char in alphabet] + [count for _, count in longer]
    return pieces, np.array(frequency, dtype=np.float64)


def _lattice(words: list[str], index_of: dict[str, int]) -> Lattice:
    edges = array("i")
    for number, word in enumerate(words):
        for start in range(len(word)):
            for end in range(start + 1, min(start + _LONGEST_PIECE, len(word)) + 1):
                index = index_of.get(word[start:end])
                if index is not None:
                    edges.extend((number, start, end, index))
    table = np.frombuffer(edges, np.int32).reshape(-1, 4)
    lengths = np.array([len(word) for word in words], dtype=np.int64)
    return Lattice(table[:, 0], table[:, 1], table[:, 2], table[:, 3], lengths)


def _restricted(lattice: Lattice, keep: Ints) -> Lattice:
    """The lattice with only the kept pieces, renumbered."""
    number = np.full(int(max(lattice.piece.max(), keep.max())) + 1, -1, dtype=np.int64)
    number[keep] = np.arange(len(keep))
    piece = number[lattice.piece]
    some = piece >= 0
    return Lattice(lattice.word[some], lattice.start[some], lattice.end[some], piece[some], lattice.lengths)


def _expected(lattice: Lattice, weights: Floats, logp: Floats) -> Floats:
    """Expected number of uses of each piece, over all segmentations (forward-backward)."""
    width = int(lattice.lengths.max()) + 1
    score = logp[lattice.piece]
    begin = np.zeros_like(lattice.lengths)
    forward = _sweep(lattice, score, begin, lattice.start, lattice.end, range(1, width))
    backward = _sweep(lattice, score, lattice.lengths, lattice.end, lattice.start, range(width - 2, -1, -1))
    share = forward[lattice.word, lattice.start]  # in place: these are the largest arrays of the training
    del forward
    share += score
    share += backward[lattice.word, lattice.end]
    share -= backward[lattice.word, 0]
    np.exp(share, out=share)
    share *= weights[lattice.word]
    return np.bincount(lattice.piece, share, len(logp)).astype(np.float64)


def _sweep(lattice: Lattice, score: Floats, begin: Ints, source: Ints, target: Ints, positions: range) -> Floats:
    """Log of the summed probability of all ways from `begin` to each position, [words, longest + 1]."""
    words = len(lattice.lengths)
    table = np.full((words, int(lattice.lengths.max()) + 1), -np.inf)
    table[np.arange(words), begin] = 0.0
    for edges, position in _by(target, positions):
        rows = lattice.word[edges]
        _log_add(table, rows, position, table[rows, source[edges]] + score[edges])
    return table


def _worth_keeping(pieces: list[str], logp: Floats, expected: Floats, alphabet: set[str], target: int) -> Ints:
    """Indices of the pieces whose loss would cost most likelihood, were each cut into others instead."""
    index_of = {piece: index for index, piece in enumerate(pieces)}
    instead = np.concatenate([
        _best_instead(pieces[start : start + _AT_ONCE], index_of, logp) for start in range(0, len(pieces), _AT_ONCE)
    ])  # fmt: skip
    single = np.array([item in alphabet for item in pieces])
    cost = np.where(single, np.inf, expected * (logp - np.where(single, 0.0, instead)))
    # Rounded, so that equal pieces are told apart by their place and not by the last bit of a sum.
    order = np.lexsort((np.arange(len(pieces)), -np.round(cost, 6)))
    result: Ints = np.sort(order[:target])
    return result


def _best_instead(words: list[str], index_of: dict[str, int], logp: Floats) -> Floats:
    """Log probability of each word cut in two pieces or more, the best way."""
    lattice = _lattice(words, index_of)
    whole = (lattice.start == 0) & (lattice.end == lattice.lengths[lattice.word])
    word, start, end, piece = (part[~whole] for part in (lattice.word, lattice.start, lattice.end, lattice.piece))
    best = np.full((len(words), int(lattice.lengths.max()) + 1), -np.inf)
    best[:, 0] = 0.0
    for edges, position in _by(end, range(1, best.shape[1])):
        np.maximum.at(best[:, position], word[edges], best[word[edges], start[edges]] + logp[piece[edges]])
    result: Floats = best[np.arange(len(words)), lattice.lengths]
    return result


def _by(key: Ints, positions: range) -> list[tuple[Ints, int]]:
    """Edges grouped by a position, in the order of `positions`."""
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    low, high = np.searchsorted(ordered, positions, "left"), np.searchsorted(ordered, positions, "right")
    return [(order[a:b], position) for a, b, position in zip(low, high, positions, strict=True) if b > a]


def _log_add(table: Floats, rows: Ints, column: int, values: Floats) -> None:
    """table[rows, column] = log of the sum of exp of the values of each row (rows come in groups)."""
    first = np.flatnonzero(np.r_[True, rows[1:] != rows[:-1]])
    top = np.maximum.reduceat(values, first)
    sizes = np.diff(np.r_[first, len(rows)])
    with np.errstate(invalid="ignore"):
        sums = np.add.reduceat(np.exp(values - np.repeat(np.where(np.isfinite(top), top, 0.0), sizes)), first)
    with np.errstate(divide="ignore"):
        table[rows[first], column] = np.where(np.isfinite(top), top, 0.0) + np.log(sums)


def _normalised(counts: Floats) -> Floats:
    """Log probabilities. A floor keeps pieces that no segmentation uses from becoming impossible."""
    counts = np.maximum(counts, 1e-3)
    result: Floats = np.log(counts / counts.sum())
    return result
