"""Reading a GGUF file: memory-mapped, lazy, and nothing believed before it is checked.

Layout (specification: ggml/docs/gguf.md), little endian: magic, version, number of tensors, number of metadata
entries; the entries; one description per tensor; padding; the tensors' data. Every count and length is compared
with the bytes that are left before anything is read or allocated by it, so a damaged or hostile file ends in an
error that names the place.
"""

from __future__ import annotations

import math
import mmap
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tutelage.interchange.gguf.quants import KIND_BY_CODE, UNSUPPORTED_CODES, Kind, dequantize
from tutelage.store.errors import DamagedError, InputError

if TYPE_CHECKING:
    import torch

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
    """Where a tensor lies: `shape` in torch's order (rows first); `offset` (of the file) and `size` in bytes."""

    name: str
    shape: tuple[int, ...]
    kind: Kind
    offset: int
    size: int


class GGUFFile:
    """An open GGUF file: `version`, `metadata` (plain Python values) and `tensors` (described, not yet read).

    A model in several files is opened as one by the name of any of them: `paths` are all its files.
    """

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path = path
        self.paths: tuple[Path, ...] = (path,)
        self._data = data
        cursor = _Cursor(path, data)
        self.version, n_tensors, n_entries = _header(cursor)
        self.metadata: dict[str, Any] = {}
        for index in range(cursor.affordable(n_entries, _SMALLEST_ENTRY, "metadata entries")):
            key = cursor.string(f"key of metadata entry {index}")
            if key in self.metadata:
                raise cursor.damaged(f"metadata key {key!r} stands there twice")
            self.metadata[key] = _value(cursor, key)
        described = [
            _description(cursor, index)
            for index in range(cursor.affordable(n_tensors, _SMALLEST_TENSOR, "tensor descriptions"))
        ]
        self.tensors = _placed(cursor, described, _alignment(cursor, self.metadata))
        self._owners: dict[str, GGUFFile] = dict.fromkeys(self.tensors, self)

    @classmethod
    def open(cls, path: Path | str) -> GGUFFile:
        """Map and check the file, and the others of a model in several files.

        Raises InputError if it is no GGUF of a known version or a part is not there, DamagedError if broken.
        """
        file = cls._open_one(Path(path))
        paths = part_paths(file.path, file.metadata)
        if len(paths) == 1:
            return file
        parts = [file if each == file.path else cls._open_one(each) for each in paths]
        return parts[0]._joined(parts)

    @classmethod
    def _open_one(cls, path: Path) -> GGUFFile:
        try:
            with path.open("rb") as file:
                if file.read(4) != MAGIC:
                    raise InputError(f"{path} is no GGUF file: it does not begin with 'GGUF'")
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
        return cls(path, data)

    def _joined(self, parts: list[GGUFFile]) -> GGUFFile:
        """The first part with the tensors of all."""
        for number, part in enumerate(parts):
            said = part.metadata.get(_NUMBER), part.metadata.get(_COUNT)
            if said != (number, len(parts)):
                raise DamagedError(f"{part.path} says that it is part {said[0]} of {said[1]}, counted from 0")
            for name in part.tensors if part is not self else ():
                if name in self.tensors:
                    raise DamagedError(f"{part.path}: tensor {name!r} is in another part too")
                self.tensors[name], self._owners[name] = part.tensors[name], part
        total = self.metadata.get(_TENSORS, len(self.tensors))
        if total != len(self.tensors):
            raise DamagedError(f"{self.path}: {total} tensors are to be in all parts, {len(self.tensors)} are")
        self.paths = tuple(part.path for part in parts)
        return self

    def tensor(self, name: str) -> torch.Tensor:
        """One tensor, dequantised to float32 (a copy). Raises DamagedError if the file has none of that name."""
        import torch

        info = self.tensors.get(name)
        if info is None:
            raise DamagedError(f"{self.path}: tensor {name!r} is missing")
        raw = np.frombuffer(self._owners[name]._data, dtype=np.uint8, count=info.size, offset=info.offset)
        return torch.from_numpy(dequantize(raw, info.kind)).reshape(info.shape)


_NUMBER, _COUNT, _TENSORS = "split.no", "split.count", "split.tensors.count"
_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


def part_paths(path: Path, metadata: Mapping[str, Any]) -> tuple[Path, ...]:
    """All files of the model that `path` is a part of, named as llama.cpp does: NAME-00001-of-00003.gguf.

    Raises InputError that names a part that is not there.
    """
    count = metadata.get(_COUNT, 1)
    if type(count) is not int or count <= 1:
        return (path,)
    found = _PART.fullmatch(path.name)
    if found is None or int(found["count"]) != count:
        raise InputError(
            f"{path} is one of {count} parts of a model, but is not named as one",
            hint=f"give the parts their names: NAME-00001-of-{count:05d}.gguf and so on",
        )
    paths = tuple(path.with_name(f"{found['stem']}-{number:05d}-of-{count:05d}.gguf") for number in range(1, count + 1))
    missing = [each.name for each in paths if not each.is_file()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise InputError(f"{path.parent} lacks {', '.join(missing[:3])}{more}", hint=f"all {count} parts are needed")
    return paths


class _Cursor:
    """A place in the file that moves on as it is read and never past the end."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data, self.at, self.size = path, data, 0, len(data)

    def damaged(self, what: str) -> DamagedError:
        return DamagedError(f"{self.path} is damaged at byte {self.at}: {what}", hint="get the file again")

    def take(self, length: int, what: str) -> bytes:
        if length > self.size - self.at:
            raise self.damaged(f"{what} needs {length} bytes, {self.size - self.at} are left")
        part = self.data[self.at : self.at + length]
        self.at += length
        return part

    def number(self, form: str, what: str) -> int:
        return int(struct.unpack("<" + form, self.take(struct.calcsize("<" + form), what))[0])

    def affordable(self, count: int, smallest: int, what: str) -> int:
        """`count`, if that many things of at least `smallest` bytes fit into what is left."""
        if count * smallest > self.size - self.at:
            raise self.damaged(f"{count} {what} do not fit into the {self.size - self.at} bytes that are left")
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
        raise InputError(f"{cursor.path} is a GGUF file of {why}", hint="versions 2 and 3, little endian, are read")
    return version, cursor.number("Q", "number of tensors"), cursor.number("Q", "number of metadata entries")


def _value(cursor: _Cursor, key: str) -> Any:
    """One metadata value: bool, int, float, str, or a list of one of these."""
    what = f"metadata {key!r}"
    code = cursor.number("I", f"type of {what}")
    if code != _ARRAY:
        return _items(cursor, code, 1, what)[0]
    code = cursor.number("I", f"element type of {what}")
    if code == _ARRAY:
        raise cursor.damaged(f"{what} is an array of arrays, which no GGUF file of a language model holds")
    return _items(cursor, code, cursor.number("Q", f"length of {what}"), what)


def _items(cursor: _Cursor, code: int, count: int, what: str) -> list[Any]:
    if code == _STRING:
        return [cursor.string(what) for _ in range(cursor.affordable(count, 8, f"strings of {what}"))]
    if code == _BOOL:
        raw = cursor.take(count, what)
        if raw.strip(b"\0\1"):
            raise cursor.damaged(f"{what} holds a truth value that is neither 0 nor 1")
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
        raise cursor.damaged(f"{what} has {n_dims} dimensions, {MAX_DIMENSIONS} at most are possible")
    # The file names the fastest-running dimension first, torch last.
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
            f"{what} has rows of {shape[-1] if shape else 1}, no multiple of {kind.name}'s {kind.block}"
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
    """Tensors by name, each wholly inside the file and none over another."""
    start = -(-cursor.at // alignment) * alignment
    tensors: dict[str, TensorInfo] = {}
    for name, shape, kind, offset in described:
        size = math.prod(shape) // kind.block * kind.size
        if name in tensors:
            raise cursor.damaged(f"tensor {name!r} stands there twice")
        if offset % alignment:
            raise cursor.damaged(f"tensor {name!r} begins at {offset}, no multiple of the alignment {alignment}")
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
