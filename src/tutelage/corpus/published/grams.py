"""N-grams of words within texts: the commonest of each text, and the characters in those that it repeats."""

from __future__ import annotations

import numpy as np

from tutelage.corpus.published.batch import several, share
from tutelage.corpus.words import I64, U64, Bool, scramble

_MIX = np.uint64(0x9E3779B97F4A7C15)
_ENDED = 1 << 62  # behind all words


class Grams:
    """N-grams of texts. words: the hash of each word, text by text; owners: its text; chars: its characters; sizes: the
    characters of each text. Hashes of each size are made from those of the next smaller one."""

    def __init__(self, words: U64, owners: I64, chars: I64, sizes: I64) -> None:
        self.owners, self.chars, self.sizes = owners, chars, sizes
        self.before = np.concatenate([[0], np.cumsum(chars)])
        self._words, self._size, self._value = words, 0, np.zeros(len(words), np.uint64)

    def only(self, texts: Bool) -> Grams:
        """Those of some texts."""
        inside = texts[self.owners]
        left = Grams(self._words[inside], self.owners[inside], self.chars[inside], self.sizes)
        left._size, left._value = self._size, self._value[inside[: len(self._value)]]
        return left

    def sized(self, size: int) -> tuple[U64, I64]:
        """(hash of each n-gram that lies in one text, its first word). Sizes are asked for in rising order."""
        count = max(0, len(self._words) - size + 1)
        while self._size < size:
            left = max(0, len(self._words) - self._size)
            self._value = scramble(self._value[:left] * _MIX + self._words[self._size :])
            self._size += 1
        places = np.flatnonzero(self.owners[:count] == self.owners[size - 1 :])
        return self._value[places], places


def commonest(grams: Grams, size: int) -> I64:
    """Characters that the commonest n-gram of each text takes up, spaces between its words counted; of several the
    first."""
    found = np.zeros(len(grams.sizes), np.int64)
    hashes, places = grams.sized(size)
    owners = grams.owners[places]
    members, begins = several(hashes, owners)
    score = np.full(len(found), -1, np.int64)
    heads = np.flatnonzero(np.diff(owners, prepend=-1))
    score[owners[heads]] = (1 << 32) - heads  # no n-gram stands twice: the first one
    if len(begins):
        first, counts = np.minimum.reduceat(members, begins), np.diff(begins, append=len(members))
        texts = owners[first]
        ones = np.flatnonzero(np.diff(texts, prepend=-1))
        score[texts[ones]] = np.maximum.reduceat((counts << 32) - first, ones)
    some = np.flatnonzero(score >= 0)
    most = -(-score[some] >> 32)
    place = places[(most << 32) - score[some]]
    found[some] = (grams.before[place + size] - grams.before[place] + size - 1) * most
    return found


def repeated_over(grams: Grams, size: int, most: float) -> tuple[Bool, np.ndarray]:
    """(texts more than `most` of whose characters are in n-grams that they repeat, a bound of that share). Each is
    counted once: after one the search continues behind it. The bound holds for this size and for all larger ones."""
    hashes, places = grams.sized(size)
    members, begins = several(hashes, grams.owners[places])
    again = np.ones(len(members), bool)
    if len(begins):
        group = np.repeat(np.arange(len(begins)), np.diff(begins, append=len(members)))
        again = members != np.minimum.reduceat(members, begins)[group]
    bound = share(_covered(grams, places[members[again]], size), grams.sizes)
    members = np.sort(members[(bound > most)[grams.owners[places[members]]]])
    return share(_without_overlap(grams, hashes[members], places[members], size, most), grams.sizes) > most, bound


def _covered(grams: Grams, again: I64, size: int) -> I64:
    """Characters of words in n-grams that occurred before in their text. again: the first words of these n-grams."""
    edges = np.zeros(len(grams.owners) + 1, np.int64)
    edges[again] = 1
    edges[again + size] -= 1
    inside = np.cumsum(edges)[:-1] > 0
    return np.bincount(grams.owners[inside], grams.chars[inside], len(grams.sizes)).astype(np.int64)


def _without_overlap(grams: Grams, hashes: U64, places: I64, size: int, most: float) -> I64:
    """Characters of each text in n-grams that were met before in it; what begins within one that is taken is skipped,
    and so is what follows when they are more than `most` of the text for certain. places: ascending."""
    found = [0] * len(grams.sizes)
    enough = (grams.sizes * most + 1).tolist()
    owners, chars = grams.owners[places].tolist(), (grams.before[places + size] - grams.before[places]).tolist()
    seen: set[int] = set()
    behind, text, taken = 0, -1, 0
    for key, place, owner, length in zip(hashes.tolist(), places.tolist(), owners, chars, strict=True):
        if owner != text:
            seen, text, behind, taken = set(), owner, 0, 0
        if place < behind:
            continue
        if key in seen:
            taken += length
            found[text] = taken
            behind = place + size if taken <= enough[text] else _ENDED
        else:
            seen.add(key)
    return np.array(found, np.int64)
