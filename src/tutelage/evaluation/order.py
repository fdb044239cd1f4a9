"""The word-order task: a real held-out sentence against itself with two longer words swapped.

Both have the same words, so only word order distinguishes them; chance is 0.5.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_PLAIN = re.compile(r"[A-Za-z][a-z'-]*")
_MIN_WORDS, _MAX_WORDS = 6, 30
_LETTERS = 5  # a misplaced `the` or `of` is visible from adjacent words; longer words require more of the sentence


@dataclass(frozen=True)
class Pair:
    """A real sentence and the same one with two words swapped; `source` is that of its document."""

    real: str
    swapped: str
    source: str = ""


def word_order_pairs(texts: Sequence[str], limit: int, seed: int, sources: Sequence[str] = ()) -> list[Pair]:
    """At most one pair per text, in the order of the texts, so that the pairs are independent."""
    generator = np.random.default_rng(seed)
    pairs: list[Pair] = []
    for at, text in enumerate(texts):
        if len(pairs) >= limit:
            break
        candidates = [sentence for sentence in _SENTENCE.split(" ".join(text.split())) if _usable(sentence)]
        if not candidates:
            continue
        sentence = candidates[int(generator.integers(len(candidates)))]
        choices = _swaps(sentence)
        swapped = choices[int(generator.integers(len(choices)))]
        pairs.append(Pair(sentence, swapped, sources[at] if sources else ""))
    return pairs


def _usable(sentence: str) -> bool:
    """Whether it is an ordinary sentence: initial capital, final full stop, mostly plain words, at least one swap."""
    words = sentence.split()
    if not _MIN_WORDS <= len(words) <= _MAX_WORDS or not sentence[0].isupper() or not sentence.endswith("."):
        return False
    plain = sum(_PLAIN.fullmatch(word.rstrip(".,;:")) is not None for word in words)
    return plain >= 0.8 * len(words) and bool(_swaps(sentence))


def _swaps(sentence: str) -> list[str]:
    """All swaps of two different plain words of five letters or more.

    The first word (capital) and the last (full stop) keep their positions.
    """
    words = sentence.split()
    inner = [i for i in range(1, len(words) - 1) if len(words[i]) >= _LETTERS and _PLAIN.fullmatch(words[i])]
    swapped = []
    for at, i in enumerate(inner):
        for j in inner[at + 1 :]:
            if words[i].lower() != words[j].lower():
                changed = words.copy()
                changed[i], changed[j] = changed[j], changed[i]
                swapped.append(" ".join(changed))
    return swapped
