"""Encoding by pieces: each piece of the texts is encoded once, and looked up wherever it stands again.

Where texts may be cut, `cuts` says, and which pieces are the same, `numbering`; here the ids of those that were met are
kept, and the ids of the texts put together by numpy. Nothing runs once for each word in Python.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from tutelage.tokenizer.cuts import Cuts
from tutelage.tokenizer.definition import byte_characters
from tutelage.tokenizer.encoded import Encoded, portions
from tutelage.tokenizer.isolated import Isolated
from tutelage.tokenizer.newpieces import NewPieces
from tutelage.tokenizer.numbering import ByteNumbers, CharacterNumbers, Numbered, PieceNumbers

MOST_PIECES, MOST_BYTES = 500_000, 50_000_000
"""What is remembered at most; then all is forgotten, and remembering begins anew."""


@dataclass(frozen=True)
class _Ids:
    """Ids of numbered pieces, one behind the other. Of each piece: how many it has, the first one, and where in `all`
    its second one is."""

    lengths: NDArray[np.int32]
    heads: NDArray[np.uint32]
    seconds: NDArray[np.int64]
    all: NDArray[np.uint32]

    @classmethod
    def none(cls) -> _Ids:
        return cls(np.zeros(0, np.int32), np.zeros(0, np.uint32), np.zeros(0, np.int64), np.zeros(0, np.uint32))

    def with_more(self, found: Encoded) -> _Ids:
        lengths = np.diff(found.ends, prepend=0)
        first = found.ends - lengths
        heads = np.append(found.ids, np.uint32(0))[first]  # one without ids at the end has none to show
        return _Ids(
            np.append(self.lengths, lengths.astype(np.int32)),
            np.append(self.heads, heads),
            np.append(self.seconds, first + len(self.all) + 1),
            np.append(self.all, found.ids),
        )

    def of_texts(self, pieces: Numbered) -> Encoded:
        """Ids of texts from the numbers of their pieces."""
        if pieces.different is not None:  # few beside all that are known: they fit into the cache of a core
            some = pieces.different
            small = _Ids(self.lengths[some], self.heads[some], self.seconds[some], self.all)
            return small.of_texts(Numbered(None, pieces.each, pieces.ends))
        numbers, ends = pieces.each.astype(np.intp), pieces.ends
        count = self.lengths[numbers]
        if not len(count) or (count.min() == 1 and count.max() == 1):
            return Encoded(self.heads[numbers], ends)
        done = np.zeros(len(count) + 1, np.int64)
        np.cumsum(count, out=done[1:])
        # The first id of every piece. One without ids writes where the next will write after it, or behind all.
        ids = np.empty(int(done[-1]) + 1, np.uint32)
        ids[done[:-1]] = self.heads[numbers]
        longer = np.flatnonzero(count > 1)
        rest = count[longer] - 1
        inside = np.arange(int(rest.sum())) - np.repeat(np.cumsum(rest) - rest, rest)
        second = np.repeat(self.seconds[numbers[longer]], rest)
        ids[np.repeat(done[longer] + 1, rest) + inside] = self.all[second + inside]
        return Encoded(ids[:-1], done[ends])


class Pieces:
    """Encodes as the definition does. Raises ValueError for one that does not encode piece by piece. May be shared
    between threads."""

    def __init__(self, library: tokenizers.Tokenizer) -> None:
        if getattr(library.model, "dropout", None):
            raise ValueError("a word has other ids each time (dropout)")
        if any(not token.special for token in library.get_added_tokens_decoder().values()):
            raise ValueError("added tokens are found in the whole text")
        steps, normalizer = _content(library.pre_tokenizer), _content(library.normalizer)
        self._source: PieceNumbers | CharacterNumbers | ByteNumbers
        self._each: NewPieces | Isolated
        try:
            cuts = Cuts(steps, normalizer)
            self._source, self._each = PieceNumbers(cuts), NewPieces(library, cuts)
        except ValueError:
            data = json.loads(library.to_str())
            if not _by_characters(data):
                raise
            self._source = CharacterNumbers() if data["pre_tokenizer"] is None else ByteNumbers()
            self._each = Isolated(library)
        self._lock = threading.Lock()
        self._ids = _Ids.none()
        if isinstance(self._source, ByteNumbers):
            found = [library.model.token_to_id(char) for char in byte_characters().values()]
            if None in found:
                raise ValueError("the vocabulary lacks bytes")
            ids = np.zeros(256, np.uint32)
            ids[list(byte_characters())] = found
            self._ids = self._ids.with_more(Encoded(ids, np.arange(1, 257)))

    def encode(self, texts: Sequence[str]) -> Encoded:
        with self._lock:
            parts = list(portions(texts, self._source.at_once))
            threads = min(_threads(), len(parts))
            if threads < 2:
                found = (self._numbered(self._source.split(part)) for part in parts)
                return Encoded.joined([ids.of_texts(numbers) for ids, numbers in found])
            # Only what is remembered is worked on by one thread, part after part.
            with ThreadPoolExecutor(threads) as pool:
                waiting = []
                for split in pool.map(self._source.split, parts):
                    ids, numbers = self._numbered(split)
                    waiting.append(pool.submit(ids.of_texts, numbers))
                return Encoded.joined([one.result() for one in waiting])

    def _forget(self) -> None:
        self._source.forget()
        self._ids = _Ids.none()

    def _numbered(self, split: Any) -> tuple[_Ids, Numbered]:
        numbers, new = self._source.numbered(split)
        if len(new):
            try:
                self._ids = self._ids.with_more(self._each.encode_strings(new))
            except BaseException:
                self._forget()  # there are numbers without ids
                raise
        ids = self._ids
        if len(new) and (len(ids.heads) > MOST_PIECES or self._source.size > MOST_BYTES):
            self._forget()
        return ids, numbers


def _threads() -> int:
    """As many as the libraries take."""
    asked = os.environ.get("RAYON_NUM_THREADS", "")
    if asked.isdigit() and int(asked):
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _content(step: Any) -> dict[str, Any] | None:
    """Of a part of a tokenizer.json, as an object of `tokenizers`."""
    return None if step is None else json.loads(step.__getstate__())


def _by_characters(data: dict[str, Any]) -> bool:
    """Whether each character is encoded by itself: byte pairs without merges, and nothing that looks at the others."""
    model, step = data["model"], data["pre_tokenizer"]
    if step is not None and step["type"] == "Sequence" and len(step["pretokenizers"]) == 1:
        (step,) = step["pretokenizers"]
    alone = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    return (
        model["type"] == "BPE"
        and not model["merges"]
        and not any(model.get(key) for key in (
            "unk_token", "fuse_unk", "ignore_merges", "continuing_subword_prefix", "end_of_word_suffix",
        ))
        and data["normalizer"] is None
        and (step is None or alone.items() <= step.items())
    )  # fmt: skip
