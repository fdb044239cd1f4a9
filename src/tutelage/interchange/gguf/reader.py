"""Read a GGUF file: memory-mapped, lazy, with every count and length validated.

Layout (specification: ggml/docs/gguf.md), little endian: magic, version, number of tensors, number of metadata
entries; the entries; one description per tensor; padding; the tensors' data. Every count and length is checked against
the remaining bytes before anything is read or allocated, so a damaged or malicious file leads to an error that names
the position.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tutelage.interchange.gguf.quants import KIND_BY_CODE, UNSUPPORTED_CODES, Bytes, Kind, dequantize, four_bits
from tutelage.interchange.gguf.split import whole
from tutelage.store.errors import DamagedError, InputError

if TYPE_CHECKING:
    import torch

    from tutelage.model.packed import Blocks

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
MAX_DIMENSIONS = 4
_BOOL, _STRING, _ARRAY = 7, 8, 9
SCALARS = {0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 10: "<u8", 11: "<i8", 12: "<f8"}
"""Metadata type code -> number format; besides these there are 7 (bool), 8 (string) and 9 (array)."""

_SMALLEST_ENTRY = 8 + 4 + 1  # empty key, type, one byte
_SMALLEST_TENSOR = 8 + 4 + 4 + 8  # empty name, no dimension, type, offset


@dataclass(frozen=True)
class TensorInfo:
    """Location of a tensor: `shape` in torch's order (rows first); `offset` in the file and `size`, in bytes."""

    name: str
    shape: tuple[int, ...]
    kind: Kind
    offset: int
    size: int


class GGUFFile:
    """An open GGUF file: `version`, `metadata` (plain Python values) and `tensors` (descriptions without data)."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path = path
        self._data = data
        cursor = _Cursor(path, data)
        self.version, n_tensors, n_entries = _header(cursor)
        self.metadata: dict[str, Any] = {}
        for index in range(cursor.affordable(n_entries, _SMALLEST_ENTRY, "metadata entries")):
            key = cursor.string(f"key of metadata entry {index}")
            if key in self.metadata:
                raise cursor.damaged(f"duplicate metadata key {key!r}")
            self.metadata[key] = _value(cursor, key)
        described = [
            _description(cursor, index)
            for index in range(cursor.affordable(n_tensors, _SMALLEST_TENSOR, "tensor descriptions"))
        ]
        self.tensors = _placed(cursor, described, _alignment(cursor, self.metadata))
        self._elsewhere: dict[str, GGUFFile] = {}  # tensor -> the part of a split file that contains it

    @classmethod
    def open(cls, path: Path | str) -> GGUFFile:
        """Map and check the file; for a split file any part may be given, and all parts are opened.

        Raises InputError if it is not GGUF of a known version or a part is missing, DamagedError if it is broken.
        """
        file = cls._open_one(Path(path))
        count = file._split("count", 1)
        if count < 2:
            return file
        first, *others = (cls._open_one(part) for part in whole(file.path, count))
        for number, part in enumerate((first, *others)):
            if (part._split("count", 1), part._split("no", -1)) != (count, number):
                raise DamagedError(f"{part.path} is not part {number + 1} of {count}", hint="get the file again")
        for part in others:
            for name in part.tensors.keys() & first.tensors.keys():
                raise DamagedError(f"{part.path}: tensor {name!r} is also in another part", hint="get the file again")
            first.tensors |= part.tensors
            first._elsewhere |= dict.fromkeys(part.tensors, part)
        if len(first.tensors) != first._split("tensors.count", len(first.tensors)):
            raise DamagedError(f"{first.path}: its parts do not contain as many tensors as declared")
        return first

    def _split(self, key: str, default: int) -> int:
        value = self.metadata.get(f"split.{key}", default)
        if type(value) is not int:
            raise DamagedError(f"{self.path}: metadata split.{key} is {value!r}, not a count")
        return value

    @classmethod
    def _open_one(cls, path: Path) -> GGUFFile:
        try:
            with path.open("rb") as file:
                if file.read(4) != MAGIC:
                    raise InputError(f"{path} is not a GGUF file: it does not begin with 'GGUF'")
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
        return cls(path, data)

    def tensor(self, name: str) -> torch.Tensor:
        """One tensor, dequantised to float32 (a copy). Raises DamagedError if there is no tensor of that name."""
        import torch

        info, raw = self._raw(name)
        return torch.from_numpy(dequantize(raw, info.kind)).reshape(info.shape)

    def blocks(self, name: str) -> Blocks | None:
        """A 4-bit matrix (Q4_0, Q4_1) in its stored form; None for other types. Raises as `tensor`."""
        import torch

        from tutelage.model.packed import Blocks

        info, raw = self._raw(name)
        stored = four_bits(raw, info.kind) if len(info.shape) == 2 else None
        if stored is None:
            return None
        codes, scale, offset = map(torch.from_numpy, stored)
        rows = info.shape[0]
        pairs = codes.view(rows, -1, 2)
        return Blocks(pairs[..., 0] | pairs[..., 1] << 4, scale.view(rows, -1), offset.view(rows, -1))

    def _raw(self, name: str) -> tuple[TensorInfo, Bytes]:
        info = self.tensors.get(name)
        if info is None:
            raise DamagedError(f"{self.path}: tensor {name!r} is missing")
        data = self._elsewhere.get(name, self)._data
        return info, np.frombuffer(data, dtype=np.uint8, count=info.size, offset=info.offset)


class _Cursor:
    """A read position in the file, with bounds checks."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data, self.at, self.size = path, data, 0, len(data)

    def damaged(self, what: str) -> DamagedError:
        return DamagedError(f"{self.path} is damaged at byte {self.at}: {what}", hint="get the file again")

    def take(self, length: int, what: str) -> bytes:
        if length > self.size - self.at:
            raise self.damaged(f"{what} needs {length} bytes, {self.size - self.at} remain")
        part = self.data[self.at : self.at + length]
        self.at += length
        return part

    def number(self, form: str, what: str) -> int:
        return int(struct.unpack("<" + form, self.take(struct.calcsize("<" + form), what))[0])

    def affordable(self, count: int, smallest: int, what: str) -> int:
        """`count`, if that many items of at least `smallest` bytes fit into the remaining bytes."""
        if count * smallest > self.size - self.at:
            raise self.damaged(f"{count} {what} do not fit into the remaining {self.size - self.at} bytes")
        return count

    def string(self, what: str) -> str:
        raw = self.take(self.number("Q", f"length of {what}"), what)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self.damaged(f"{what} is not UTF-8") from None


def _header(cursor: _Cursor) -> tuple[int, int, int]:
    """Version, number of tensors, number of metadata entries."""
    cursor.take(4, "magic")
    version = cursor.number("I", "version")
    if version not in VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        why = "big endian" if swapped in VERSIONS else f"version {version}"
        raise InputError(
            f"{cursor.path} is a GGUF file of {why}", hint="versions 2 and 3, little endian, are supported"
        )
    return version, cursor.number("Q", "number of tensors"), cursor.number("Q", "number of metadata entries")


def _value(cursor: _Cursor, key: str) -> Any:
    """One metadata value: bool, int, float, str, or a list of one of these."""
    what = f"metadata {key!r}"
    code = cursor.number("I", f"type of {what}")
    if code != _ARRAY:
        return _items(cursor, code, 1, what)[0]
    code = cursor.number("I", f"element type of {what}")
    if code == _ARRAY:
        raise cursor.damaged(f"{what} is an array of arrays, which no GGUF file of a language model contains")
    return _items(cursor, code, cursor.number("Q", f"length of {what}"), what)


def _items(cursor: _Cursor, code: int, count: int, what: str) -> list[Any]:
    if code == _STRING:
        return [cursor.string(what) for _ in range(cursor.affordable(count, 8, f"strings of {what}"))]
    if code == _BOOL:
        raw = cursor.take(count, what)
        if raw.strip(b"\0\1"):
            raise cursor.damaged(f"{what} contains a boolean that is neither 0 nor 1")
        return [byte == 1 for byte in raw]
    if code not in SCALARS:
        raise cursor.damaged(f"{what} has the unknown type {code}")
    form = np.dtype(SCALARS[code])
    values: list[Any] = np.frombuffer(cursor.take(count * form.itemsize, what), dtype=form).tolist()
    return values


def _description(cursor: _Cursor, index: int) -> tuple[str, tuple[int, ...], Kind, int]:
    """Name, shape, kind and offset (from the start of the data) of one tensor."""
    name = cursor.string(f"name of tensor {index}")
    what = f"tensor {name!r}"
    n_dims = cursor.number("I", f"number of dimensions of {what}")
    if n_dims > MAX_DIMENSIONS:
        raise cursor.damaged(f"{what} has {n_dims} dimensions; the maximum is {MAX_DIMENSIONS}")
    # The file stores the fastest-varying dimension first, torch last.
    shape = tuple(cursor.number("Q", f"shape of {what}") for _ in range(n_dims))[::-1]
    code = cursor.number("I", f"type of {what}")
    if code in UNSUPPORTED_CODES:
        raise InputError(
            f"{cursor.path}: {what} is stored as {UNSUPPORTED_CODES[code]}, which is not supported",
            hint="supported: " + ", ".join(kind.name for kind in KIND_BY_CODE.values()),
        )
    if code not in KIND_BY_CODE:
        raise cursor.damaged(f"{what} has the unknown type {code}")
    kind = KIND_BY_CODE[code]
    if 0 in shape:
        raise cursor.damaged(f"{what} has an empty dimension: {list(shape)}")
    if (shape[-1] if shape else 1) % kind.block:
        raise cursor.damaged(
            f"{what} has rows of {shape[-1] if shape else 1}, not a multiple of {kind.name}'s block of {kind.block}"
        )
    return name, shape, kind, cursor.number("Q", f"offset of {what}")


def _alignment(cursor: _Cursor, metadata: dict[str, Any]) -> int:
    value = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if type(value) is not int or value < 1 or value & (value - 1):
        raise cursor.damaged(f"general.alignment is {value!r}, not a power of two")
    return value


def _placed(
    cursor: _Cursor, described: list[tuple[str, tuple[int, ...], Kind, int]], alignment: int
) -> dict[str, TensorInfo]:
    """Tensors by name; checks that they lie within the file and do not overlap."""
    start = -(-cursor.at // alignment) * alignment
    tensors: dict[str, TensorInfo] = {}
    for name, shape, kind, offset in described:
        size = math.prod(shape) // kind.block * kind.size
        if name in tensors:
            raise cursor.damaged(f"duplicate tensor {name!r}")
        if offset % alignment:
            raise cursor.damaged(f"tensor {name!r} begins at {offset}, not a multiple of the alignment {alignment}")
        if start + offset + size > cursor.size:
            raise cursor.damaged(
                f"tensor {name!r} of {size} bytes at {start + offset} ends after the file's {cursor.size} bytes"
            )
        tensors[name] = TensorInfo(name, shape, kind, start + offset, size)
    before: TensorInfo | None = None
    for info in sorted(tensors.values(), key=lambda info: info.offset):
        if before is not None and info.offset < before.offset + before.size:
            raise cursor.damaged(f"tensors {before.name!r} and {info.name!r} overlap")
        before = info
    return tensors
