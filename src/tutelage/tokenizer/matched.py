"""Whole words, thousands at a time, as the library's models cut them into tokens: the same sums in the same order.

A library's call for each word takes it longer than the word; here numpy goes through all words at once, place by
place. Only what is surely one word comes here (`Cuts.single`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.tokenizer.definition import byte_characters
from tutelage.tokenizer.encoded import Encoded
from tutelage.tokenizer.known import Strings
from tutelage.tokenizer.trie import END, Trie


class UnigramWords:
    """The likeliest tokens of each word (Viterbi). Raises ValueError for a vocabulary that is not of all bytes."""

    longest = 48

    def __init__(self, model: dict[str, Any]) -> None:
        byte_of = {ord(char): byte for byte, char in byte_characters().items()}
        last = {token: index for index, (token, _) in enumerate(model["vocab"])}  # of equal ones the last counts
        scores = [float(score) for _, score in model["vocab"]]
        if any(model.get(key) for key in ("alpha", "nbest_size")) or not all(map(math.isfinite, scores)):
            raise ValueError("a word has other ids each time")
        if not all(char in last for char in byte_characters().values()):
            raise ValueError("the vocabulary lacks bytes")
        spelled = {
            token.translate(byte_of).encode("latin-1"): index
            for token, index in last.items()
            if all(ord(char) in byte_of for char in token)
        }
        self._trie = Trie(list(spelled), list(spelled.values()), [0] * len(spelled))
        self._scores = np.array(scores)

    def encode(self, words: Strings) -> Encoded:
        data, begins, places = _apart(words)
        order = np.argsort(places, kind="stable")  # what is at the same place of its word comes together
        order = order[data[order] != END]
        place = places[order].astype(np.int64)
        stops, longest = begins[1:] - 1, int(places.max())
        ends, limits = [], []  # by length of the token
        for length, which, ids in self._trie.walk(data, order, np.zeros(len(order), np.int64)):
            ends.append((order[which] + length, ids))
            limits.append(np.searchsorted(place[which], np.arange(longest - length + 2)).tolist())
        best, size = np.full(len(data), -np.inf), np.zeros(len(data), np.int64)
        token = np.zeros(len(data), np.uint32)
        best[begins[:-1]] = 0.0
        for stop in range(1, longest + 1):
            # As in the library: the tokens that begin first are tried first, and a later one must be better.
            for length in range(min(stop, len(ends)), 0, -1):
                limit = limits[length - 1]
                low, high = limit[stop - length], limit[stop - length + 1]
                if low == high:
                    continue
                end, ids = (part[low:high] for part in ends[length - 1])
                sums = self._scores[ids] + best[end - length]
                better = np.flatnonzero(sums > best[end])
                end = end[better]
                best[end], token[end], size[end] = sums[better], ids[better], length
        used = np.zeros(len(data), bool)
        at = stops
        while len(at):
            used[at] = True
            at = at - size[at]
            at = at[places[at] > 0]
        return _chosen(token, used, begins)


class LongestWords:
    """From the beginning of each word on the longest token there is, as WordPiece goes."""

    def __init__(self, model: dict[str, Any]) -> None:
        prefix, vocabulary = model["continuing_subword_prefix"], model["vocab"]
        unknown = vocabulary.get(model["unk_token"])
        if unknown is None:
            raise ValueError("the vocabulary lacks the unknown token")
        self._unknown, self.longest = unknown, min(48, model["max_input_chars_per_word"])
        tokens = [(token.encode(), index, 0) for token, index in vocabulary.items()]
        tokens += [(token[len(prefix) :].encode(), index, 1) for token, index in vocabulary.items()
                   if token.startswith(prefix)]  # fmt: skip
        self._trie = Trie(*zip(*tokens, strict=True))

    def encode(self, words: Strings) -> Encoded:
        data, begins, places = _apart(words)
        at = np.flatnonzero((data & 0xC0 != 0x80) & (data != END))  # where characters begin
        size, token = np.zeros(len(data), np.int64), np.zeros(len(data), np.uint32)
        for length, which, ids in self._trie.walk(data, at, places[at] > 0):
            size[at[which]], token[at[which]] = length, ids
        used = np.zeros(len(data), bool)
        word, at = np.arange(len(words)), begins[:-1]
        bad = [word[:0]]
        while len(at):
            used[at] = True
            step = size[at]
            bad.append(word[step == 0])
            at = at + step
            on = np.flatnonzero((step > 0) & (data[at] != END))
            word, at = word[on], at[on]
        for one in np.concatenate(bad).tolist():
            used[begins[one] : begins[one + 1]] = False
            used[begins[one]], token[begins[one]] = True, self._unknown
        return _chosen(token, used, begins)


def _apart(words: Strings) -> tuple[NDArray[np.uint8], NDArray[np.intp], NDArray[np.uint8]]:
    """The bytes with END behind each word, where words begin (and, last, where they end), and of each byte its place
    in its word."""
    ends = words.begins[1:].astype(np.intp)
    data = np.insert(words.data, ends, END)
    begins = np.append(0, ends + np.arange(1, len(ends) + 1))
    places = np.arange(len(data)) - np.repeat(begins[:-1], np.diff(begins))
    return data, begins, places.astype(np.uint8)


def _chosen(token: NDArray[np.uint32], used: NDArray[np.bool_], begins: NDArray[np.intp]) -> Encoded:
    """Tokens at the places in use, in the order of the text."""
    done = np.append(0, np.cumsum(used))
    return Encoded(token[used], done[begins[1:]])
