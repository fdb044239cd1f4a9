"""Measures of a corpus: how varied it is, and how much of its held-out side is copying."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import zstandard

from tutelage.corpus.sentences import words_of
from tutelage.corpus.shelf import Shelf
from tutelage.corpus.split import split

SAMPLE_WORDS = 20_000  # the measures fall with the size of the text, so the sample is of a fixed size
_LOOKED_UP = 500  # documents at a time
_TRAIN_BYTES = 6_000_000
_HELDOUT_BYTES = 300_000


def diversity(documents: Shelf) -> dict[str, Any]:
    """Variety of the first 20,000 words (documents by id, which is a random order).

    `type_token_ratio`: distinct words per word; `distinct_2`: distinct pairs of words per pair;
    `word_entropy_bits`, `pair_entropy_bits`: Shannon entropy of words and of pairs of words;
    `zlib_ratio`: bytes per byte after zlib level 9 (the higher, the more it repeats itself).
    """
    words: list[str] = []
    texts: list[str] = []
    order = documents.rows[np.argsort(documents.facts.ids[documents.rows], kind="stable")]
    for begin in range(0, len(order), _LOOKED_UP):
        for document in documents.fetch(order[begin : begin + _LOOKED_UP]):
            if len(words) < SAMPLE_WORDS:
                words += words_of(document.text)
                texts.append(document.text)
        if len(words) >= SAMPLE_WORDS:
            break
    words = words[:SAMPLE_WORDS]
    pairs = list(pairwise(words))
    data = "\n\n".join(texts).encode("utf-8")
    return {
        "sample_words": len(words),
        "type_token_ratio": round(len(set(words)) / max(len(words), 1), 4),
        "distinct_2": round(len(set(pairs)) / max(len(pairs), 1), 4),
        "word_entropy_bits": round(entropy(words), 4),
        "pair_entropy_bits": round(entropy(pairs), 4),
        "zlib_ratio": round(len(data) / max(len(zlib.compress(data, 9)), 1), 4),
    }


def entropy(items: list[Any]) -> float:
    """Shannon entropy, in bits, of the items' frequencies."""
    counts = Counter(items)
    return sum(count / len(items) * math.log2(len(items) / count) for count in counts.values())


@dataclass(frozen=True, slots=True)
class Sample:
    """UTF-8 text of both sides of a corpus at one level of selection, at most 6 MB and 300 kB."""

    level: str
    documents: int
    train: bytes
    heldout: bytes


def take_sample(level: str, documents: Shelf, share: float) -> Sample:
    """Sample both sides of the split by id, so that levels of different size are measured alike."""
    sides = split(documents, share)
    return Sample(level, len(documents), _joined(sides.train, _TRAIN_BYTES), _joined(sides.heldout, _HELDOUT_BYTES))


def copying(sample: Sample) -> dict[str, Any]:
    """Bits per byte of the held-out side under zstd, alone and primed with the training side.

    The gap between the two is what the held-out side has in common with training text: mostly long copies, which the
    levels above 12 find no better, at twenty times the time.
    """
    parameters = zstandard.ZstdCompressionParameters.from_level(12, window_log=23)
    dictionary = zstandard.ZstdCompressionDict(sample.train, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    alone = zstandard.ZstdCompressor(compression_params=parameters)
    primed = zstandard.ZstdCompressor(compression_params=parameters, dict_data=dictionary) if sample.train else alone
    size = max(len(sample.heldout), 1)
    return {
        "level": sample.level,
        "documents": sample.documents,
        "train_bytes": len(sample.train),
        "heldout_bytes": len(sample.heldout),
        "alone_bits_per_byte": round(8 * len(alone.compress(sample.heldout)) / size, 4),
        "primed_bits_per_byte": round(8 * len(primed.compress(sample.heldout)) / size, 4),
    }


def _joined(documents: Shelf, limit: int) -> bytes:
    facts = documents.kept
    order = np.argsort(facts.ids, kind="stable")
    enough = int(np.searchsorted(np.cumsum(facts.bytes[order] + 2, dtype=np.int64), limit)) + 1
    parts = (document.text.encode("utf-8") for document in documents.fetch(documents.rows[order[:enough]]))
    return b"\n\n".join(parts)[:limit]
