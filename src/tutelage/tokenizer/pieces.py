"""Encoding by pieces: each piece of the texts is encoded once, and looked up wherever it stands again.

Where texts may be cut, `cuts` says; nothing here runs once for each word in Python. Pieces are numbered by Arrow's
dictionary encoding, those that are known already among them, and the ids are put together by numpy.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tutelage.tokenizer.cuts import Cuts
from tutelage.tokenizer.encoded import Encoded, portions
from tutelage.tokenizer.isolated import Isolated

MOST_PIECES, MOST_BYTES = 500_000, 50_000_000
"""What is remembered at most; then all is forgotten, and remembering begins anew."""
_AT_ONCE = 2_000_000  # characters: what numpy makes of them is some 20 times as large


class Pieces:
    """Encodes as the definition does. Raises ValueError for one that does not encode piece by piece, and where
    `each`, which encodes new pieces, does. May be shared between threads."""

    def __init__(self, definition: str, each: Isolated) -> None:
        data = json.loads(definition)
        if data["model"].get("dropout"):
            raise ValueError("a word has other ids each time (dropout)")
        if any(not token["special"] for token in data["added_tokens"]):
            raise ValueError("added tokens are found in the whole text")
        self._source = _Characters() if _by_characters(data) else _Words(Cuts(data))
        self._each, self._lock = each, threading.Lock()
        self._forget()

    @property
    def encoder(self) -> str:
        """Who encodes the new pieces."""
        return self._each.encoder

    def encode(self, texts: Sequence[str]) -> Encoded:
        with self._lock:
            return Encoded.joined([self._portion(some) for some in portions(texts, _AT_ONCE)])

    def _forget(self) -> None:
        self._source.forget()
        self._first, self._lengths = np.zeros(0, np.int64), np.zeros(0, np.int64)  # of each piece, in `_ids`
        self._ids, self._all_single = np.zeros(0, np.uint32), True

    def _portion(self, texts: Sequence[str]) -> Encoded:
        numbers, ends, new = self._source.numbered(texts)
        if new:
            try:
                found = self._each.encode(new)
            except BaseException:
                self._forget()  # it numbered what has no ids
                raise
            self._lengths = np.append(self._lengths, np.diff(found.ends, prepend=0))
            self._first = np.append(self._first, len(self._ids) + found.ends - np.diff(found.ends, prepend=0))
            self._ids = np.append(self._ids, found.ids)
            self._all_single = bool((self._lengths == 1).all())
        made = self._assembled(numbers, ends)
        if len(self._first) > MOST_PIECES or self._source.size > MOST_BYTES:
            self._forget()
        return made

    def _assembled(self, numbers: NDArray[np.int32], ends: NDArray[np.int64]) -> Encoded:
        if self._all_single:
            return Encoded(self._ids[numbers], ends)
        count = self._lengths[numbers]
        done = np.concatenate([np.zeros(1, np.int64), np.cumsum(count)])
        ids = np.empty(int(done[-1]), np.uint32)
        if not len(ids):
            return Encoded(ids, done[ends])
        # The first id of every piece, then what longer ones have besides.
        some = np.flatnonzero(count) if count.min() == 0 else slice(None)
        ids[done[:-1][some]] = self._ids[self._first[numbers[some]]]
        longer = np.flatnonzero(count > 1)
        rest = count[longer] - 1
        inside = np.arange(int(rest.sum())) - np.repeat(np.cumsum(rest) - rest, rest) + 1
        ids[np.repeat(done[longer], rest) + inside] = self._ids[np.repeat(self._first[numbers[longer]], rest) + inside]
        return Encoded(ids, done[ends])


class _Words:
    """Numbers of the pieces between cuts."""

    def __init__(self, cuts: Cuts) -> None:
        self._cuts = cuts
        self.forget()

    def forget(self) -> None:
        self._known = pa.array([], pa.string())
        self._index: dict[str, int] = {}

    @property
    def size(self) -> int:
        return int(self._known.nbytes)

    def numbered(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64], list[str]]:
        """Numbers of the pieces of all texts; how many pieces there are up to the end of each; the new pieces."""
        data, begins, ends = self._cuts.cut(texts)
        pieces = pa.StringArray.from_buffers(len(begins) - 1, pa.py_buffer(begins), pa.py_buffer(data))
        known = len(self._known)
        if known <= len(pieces):  # then it costs less to number them all anew
            made = pa.concat_arrays([self._known, pieces]).dictionary_encode()
            self._known = made.dictionary
            return made.indices.to_numpy()[known:], ends, self._known[known:].to_pylist()
        made = pieces.dictionary_encode()
        index = self._index
        if len(index) < known:
            names = self._known[len(index) :].to_pylist()
            index.update(zip(names, range(len(index), known), strict=True))
        words = made.dictionary.to_pylist()
        new = [word for word in words if word not in index]
        index.update(zip(new, range(known, known + len(new)), strict=True))
        if new:
            self._known = pa.concat_arrays([self._known, pa.array(new, pa.string())])
        numbers = np.fromiter(map(index.__getitem__, words), np.int32, len(words))
        return numbers[made.indices.to_numpy()], ends, new


class _Characters:
    """Numbers of characters, each of which is a piece."""

    size = 0

    def forget(self) -> None:
        self._number = np.full(0x110000, -1, np.int32)
        self._count = 0

    def numbered(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64], list[str]]:
        codes = np.frombuffer("".join(texts).encode("utf-32-le"), "<u4")
        numbers = self._number[codes]
        new = np.unique(codes[numbers < 0])
        if len(new):
            self._number[new] = np.arange(self._count, self._count + len(new))
            self._count += len(new)
            numbers = self._number[codes]
        return numbers, np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts))), list(map(chr, new.tolist()))


def _by_characters(data: dict[str, Any]) -> bool:
    """Whether each character is encoded by itself: byte pairs without merges, and nothing that looks at the others."""
    model, step = data["model"], data["pre_tokenizer"]
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
