"""Token shards: encoded documents on disk, read through memory maps, packed by their lengths only."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from tutelage.store.errors import DamagedError, InputError
from tutelage.store.files import new_directory, write_json
from tutelage.store.hashing import sha256_file, sha256_json
from tutelage.tokenizer.bulk import Encoded
from tutelage.training.data.batch import Batch
from tutelage.training.data.packing import best_fit

INDEX = "index.json"


def write_shards(batches: Iterable[Encoded], out: Path, vocab_size: int, identity: str, shard_tokens: int) -> None:
    """Write documents (token ids without end-of-text) as `out`: raw little-endian shards, their lengths, an index.

    A shard ends with the document that fills it to `shard_tokens`. The directory appears completely or not at all, and
    its bytes depend only on the documents, not on how they are batched. `identity`: what they were made from.
    """
    kind = "<u2" if vocab_size <= 1 << 16 else "<u4"
    with new_directory(out) as folder:
        lengths: list[NDArray[np.int64]] = []
        sizes: list[int] = []
        file: BinaryIO | None = None
        for batch in batches:
            lengths.append(np.diff(batch.ends, prepend=0))
            first = 0  # document of the batch that is written next
            while first < len(batch.ends):
                if file is None:
                    file = (folder / f"tokens-{len(sizes):05d}.bin").open("wb")
                    sizes.append(0)
                begin = int(batch.ends[first - 1]) if first else 0
                # The first document with which the shard is full, and all before it.
                full = int(np.searchsorted(batch.ends, begin + shard_tokens - sizes[-1]))
                last = min(full, len(batch.ends) - 1)
                ids = batch.ids[begin : int(batch.ends[last])]
                file.write(ids.astype(kind).tobytes())
                sizes[-1] += len(ids)
                first = last + 1
                if sizes[-1] >= shard_tokens:
                    file.close()
                    file = None
        if file is not None:
            file.close()
        each = np.concatenate([np.zeros(0, np.int64), *lengths])
        each.astype("<i4").tofile(folder / "lengths.bin")
        files = {path.name: sha256_file(path) for path in sorted(folder.glob("*.bin"))}
        write_json(folder / INDEX, {"identity": identity, "dtype": kind, "documents": len(each), "shards": sizes,
                                    "vocab_size": vocab_size, "files": files})  # fmt: skip


@dataclass(frozen=True)
class TokenShards:
    """Documents on disk. lengths [documents] and starts [documents] (in the concatenation of all shards), in tokens."""

    path: Path
    index: dict[str, Any]
    lengths: NDArray[np.int64]
    starts: NDArray[np.int64]
    shards: list[NDArray[Any]]
    ends: NDArray[np.int64]  # of each shard

    def document(self, number: int) -> NDArray[np.int64]:
        """Token ids of one document; only these are read."""
        start, size = int(self.starts[number]), int(self.lengths[number])
        shard = int(np.searchsorted(self.ends, start, side="right")) if size else 0
        begin = start - (int(self.ends[shard - 1]) if shard else 0)
        return self.shards[shard][begin : begin + size].astype(np.int64)


def open_shards(path: Path, verify: bool = True) -> TokenShards:
    """Open what `write_shards` wrote. Raises DamagedError naming a file that is missing, truncated or altered."""
    try:
        index = json.loads((path / INDEX).read_text(encoding="utf-8"))
        files, kind, sizes = dict(index["files"]), str(index["dtype"]), list(index["shards"])
    except (OSError, ValueError, KeyError, TypeError):
        raise DamagedError(f"{path / INDEX} is missing or damaged", hint="remove the directory and run again") from None
    for name, sha256 in files.items():
        file = path / name
        if not file.is_file() or (verify and sha256_file(file) != sha256):
            raise DamagedError(f"{file} does not match its recorded SHA-256", hint="remove the directory and run again")
    lengths = np.fromfile(path / "lengths.bin", dtype="<i4").astype(np.int64)
    shards = []
    for number, size in enumerate(sizes):
        file = path / f"tokens-{number:05d}.bin"
        if file.stat().st_size != size * np.dtype(kind).itemsize:
            raise DamagedError(f"{file} is truncated", hint="remove the directory and run again")
        shards.append(np.memmap(file, dtype=kind, mode="r") if size else np.empty(0, kind))
    return TokenShards(path, index, lengths, np.cumsum(lengths) - lengths, shards, np.cumsum(sizes))


class ShardRows:
    """Packed rows over token shards, made on demand: the same rows as from `pack_documents`.

    Every document starts after the end-of-text token and ends with it as a target. One longer than a row is split; a
    later piece starts with the last token before it, so every token is a target exactly once.
    """

    def __init__(self, shards: TokenShards, eos_id: int, length: int) -> None:
        if not len(shards.lengths):
            raise InputError("there is nothing to train on: no example was made from the data")
        self.shards, self.eos_id, self._length = shards, eos_id, length
        targets = shards.lengths + 1  # each token and the end
        pieces = -(-targets // length)
        self.document = np.repeat(np.arange(len(targets)), pieces)  # of each piece
        first = np.cumsum(pieces) - pieces
        self.begin = (np.arange(len(self.document)) - first[self.document]) * length  # within its document
        self.size = np.minimum(length, targets[self.document] - self.begin)
        self.bins = best_fit(self.size.tolist(), length)

    def __len__(self) -> int:
        return len(self.bins)

    @property
    def length(self) -> int:
        return self._length

    @property
    def num_tokens(self) -> int:
        return int(self.size.sum())

    @property
    def sources(self) -> tuple[tuple[int, float], ...]:
        return ((len(self), 1.0),)

    def batch(self, index: NDArray[np.int64]) -> Batch:
        shape = (len(index), self._length)
        tokens, targets = np.full(shape, self.eos_id, np.int64), np.zeros(shape, np.int64)
        positions, documents = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        weights = np.zeros(shape, np.float32)
        for row, number in enumerate(index):
            at = 0
            for order, piece in enumerate(self.bins[int(number)], start=1):
                ids = self.shards.document(int(self.document[piece]))
                stream = np.concatenate([[self.eos_id], ids, [self.eos_id]])
                begin, size = int(self.begin[piece]), int(self.size[piece])
                span = slice(at, at + size)
                tokens[row, span] = stream[begin : begin + size]
                targets[row, span] = stream[begin + 1 : begin + size + 1]
                positions[row, span] = np.arange(size)
                documents[row, span] = order
                weights[row, span] = 1.0
                at += size
        made = [torch.from_numpy(array) for array in (tokens, positions, documents, targets, weights)]
        return Batch(made[0], made[1], made[2], made[3], made[4])

    def digest(self) -> str:
        return sha256_json([self.shards.index["files"], self.eos_id, self._length])

    def documents_of(self, row: int) -> list[int]:
        """Numbers of the documents that a row has pieces of."""
        return [int(self.document[piece]) for piece in self.bins[row]]


class Mixture:
    """Rows of several sources by weight, numbered source after source; `training.position` determines their order."""

    def __init__(self, parts: list[ShardRows], weights: list[float], names: list[str] | None = None) -> None:
        self.parts, self.weights, self.names = parts, weights, names
        self.firsts = np.cumsum([0, *(len(part) for part in parts)])

    def __len__(self) -> int:
        return int(self.firsts[-1])

    @property
    def length(self) -> int:
        return self.parts[0].length

    @property
    def num_tokens(self) -> int:
        return sum(part.num_tokens for part in self.parts)

    @property
    def sources(self) -> tuple[tuple[int, float], ...]:
        return tuple((len(part), weight) for part, weight in zip(self.parts, self.weights, strict=True))

    def batch(self, index: NDArray[np.int64]) -> Batch:
        source = np.searchsorted(self.firsts, index, side="right") - 1
        rows = [
            self.parts[int(which)].batch(np.array([number - self.firsts[which]]))
            for which, number in zip(source, index, strict=True)
        ]
        names = ("tokens", "positions", "documents", "targets", "weights")
        whole = [torch.cat([getattr(row, name) for row in rows]) for name in names]
        return Batch(whole[0], whole[1], whole[2], whole[3], whole[4])

    def digest(self) -> str:
        return sha256_json([[part.digest() for part in self.parts], self.weights])
