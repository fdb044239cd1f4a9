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
import tokenizers
from numpy.typing import NDArray

from tutelage.tokenizer.cuts import Cuts
from tutelage.tokenizer.definition import byte_characters
from tutelage.tokenizer.encoded import Encoded, portions
from tutelage.tokenizer.isolated import Isolated

MOST_PIECES, MOST_BYTES = 500_000, 50_000_000
"""What is remembered at most; then all is forgotten, and remembering begins anew."""


class Pieces:
    """Encodes as the definition does. Raises ValueError for one that does not encode piece by piece, and where
    `each`, which encodes new pieces, does. May be shared between threads."""

    def __init__(self, library: tokenizers.Tokenizer, each: Isolated) -> None:
        if getattr(library.model, "dropout", None):
            raise ValueError("a word has other ids each time (dropout)")
        if any(not token.special for token in library.get_added_tokens_decoder().values()):
            raise ValueError("added tokens are found in the whole text")
        steps, normalizer = _content(library.pre_tokenizer), _content(library.normalizer)
        self._source: _Words | _Characters | _Bytes
        try:
            self._source = _Words(Cuts(steps, normalizer))
        except ValueError:
            data = json.loads(library.to_str())
            if not _by_characters(data):
                raise
            self._source = _Characters() if data["pre_tokenizer"] is None else _Bytes()
        self._each, self._lock = each, threading.Lock()
        self._forget()
        if isinstance(self._source, _Bytes):
            found = [library.model.token_to_id(char) for char in byte_characters().values()]
            if None in found:
                raise ValueError("the vocabulary lacks bytes")
            ids = np.zeros(256, np.uint32)
            ids[list(byte_characters())] = found
            self._add(Encoded(ids, np.arange(1, 257)))

    @property
    def encoder(self) -> str:
        """Who encodes the new pieces."""
        return self._each.encoder

    @property
    def remembered_bytes(self) -> int:
        return self._source.size

    def encode(self, texts: Sequence[str]) -> Encoded:
        with self._lock:
            return Encoded.joined([self._portion(some) for some in portions(texts, self._source.at_once)])

    def _forget(self) -> None:
        self._source.forget()
        self._lengths, self._head = np.zeros(0, np.int32), np.zeros(0, np.uint32)  # of each piece: ids, the first one
        self._tail, self._ids = np.zeros(0, np.int64), np.zeros(0, np.uint32)  # where its second one is in all ids

    def _portion(self, texts: Sequence[str]) -> Encoded:
        numbers, ends, new = self._source.numbered(texts)
        if new:
            try:
                self._add(self._each.encode(new))
            except BaseException:
                self._forget()  # there are numbers without ids
                raise
        made = self._assembled(numbers.astype(np.intp), ends)
        if new and (len(self._head) > MOST_PIECES or self._source.size > MOST_BYTES):
            self._forget()
        return made

    def _add(self, found: Encoded) -> None:
        lengths = np.diff(found.ends, prepend=0)
        first = found.ends - lengths
        head = np.append(found.ids, np.uint32(0))[first]  # one without ids at the end has none to show
        self._lengths = np.append(self._lengths, lengths.astype(np.int32))
        self._head = np.append(self._head, head)
        self._tail = np.append(self._tail, first + len(self._ids) + 1)
        self._ids = np.append(self._ids, found.ids)

    def _assembled(self, numbers: NDArray[np.intp], ends: NDArray[np.int64]) -> Encoded:
        count = self._lengths[numbers]
        if not len(count) or (count.min() == 1 and count.max() == 1):
            return Encoded(self._head[numbers], ends)
        done = np.zeros(len(count) + 1, np.int64)
        np.cumsum(count, out=done[1:])
        # The first id of every piece. One without ids writes where the next will write after it, or behind all.
        ids = np.empty(int(done[-1]) + 1, np.uint32)
        ids[done[:-1]] = self._head[numbers]
        longer = np.flatnonzero(count > 1)
        rest = count[longer] - 1
        inside = np.arange(int(rest.sum())) - np.repeat(np.cumsum(rest) - rest, rest)
        ids[np.repeat(done[longer] + 1, rest) + inside] = self._ids[
            np.repeat(self._tail[numbers[longer]], rest) + inside
        ]
        return Encoded(ids[:-1], done[ends])


class _Words:
    """Numbers of the pieces between cuts."""

    at_once = 2_000_000  # characters: what numpy makes of them is some 20 times as large

    def __init__(self, cuts: Cuts) -> None:
        self._cuts = cuts
        self.forget()

    def forget(self) -> None:
        self._known = _strings(np.zeros(1, np.int32), b"")
        self._index: dict[str, int] = {}

    @property
    def size(self) -> int:
        return int(self._known.nbytes)

    def numbered(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64], list[str]]:
        """Numbers of the pieces of all texts; how many pieces there are up to the end of each; the new pieces."""
        data, begins, ends = self._cuts.cut(texts)
        pieces = _strings(begins, data)
        known = len(self._known)
        if known <= len(pieces):  # then it costs less to number them all anew
            made = pa.concat_arrays([self._known, pieces]).dictionary_encode()
            self._known = made.dictionary
            return _indices(made)[known:], ends, self._known[known:].to_pylist()
        made = pieces.dictionary_encode()
        index = self._index
        if len(index) < known:
            names = self._known[len(index) :].to_pylist()
            index.update(zip(names, range(len(index), known), strict=True))
        words = made.dictionary.to_pylist()
        new = [word for word in words if word not in index]
        index.update(zip(new, range(known, known + len(new)), strict=True))
        if new:
            data, begins = "".join(new).encode(), np.cumsum([0, *(len(word.encode()) for word in new)], dtype=np.int32)
            self._known = pa.concat_arrays([self._known, _strings(begins, data)])
        numbers = np.fromiter(map(index.__getitem__, words), np.int32, len(words))
        return numbers[_indices(made)], ends, new


def _strings(begins: NDArray[np.int32], data: bytes) -> Any:
    return pa.StringArray.from_buffers(len(begins) - 1, pa.py_buffer(begins), pa.py_buffer(data))


def _indices(made: Any) -> NDArray[np.int32]:
    """Of a dictionary array, without `to_numpy`, which imports pandas (as `pa.array` does) where it is installed."""
    indices = made.indices
    return np.frombuffer(indices.buffers()[1], np.int32)[indices.offset : indices.offset + len(indices)]


class _Characters:
    """Numbers of characters, each of which is a piece."""

    size, at_once = 0, 200_000

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


class _Bytes:
    """Numbers of bytes, each of which is a piece; none is ever new."""

    size, at_once = 0, 200_000

    def forget(self) -> None: ...

    def numbered(self, texts: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]:
        parts = list(map(str.encode, texts))
        ends = np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)))
        return np.frombuffer(b"".join(parts), np.uint8), ends, []


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
