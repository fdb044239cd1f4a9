"""TensorBoard from the events: its file format written by hand, so that no package is needed to make it."""

from __future__ import annotations

import os
import socket
import struct
import time
from pathlib import Path
from typing import Any

from tutelage.store.tracking import scalars


class TensorBoard:
    """A listener on the event log that writes every figure as the scalar `stage/name`; one file per process."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
        self.path = folder / name
        self._write(_double(1, time.time()) + _bytes(3, b"brain.Event:2"))

    def __call__(self, event: dict[str, Any]) -> None:
        if not (found := scalars(event)):
            return
        values = b"".join(_bytes(1, _bytes(1, name.encode()) + _float(2, value)) for name, value in found.items())
        self._write(_double(1, event["time"]) + _number(2, int(event["step"])) + _bytes(5, values))

    def _write(self, message: bytes) -> None:
        """One record: length, its checksum, the message, its checksum (TFRecord)."""
        length = struct.pack("<Q", len(message))
        record = length + struct.pack("<I", masked(length)) + message + struct.pack("<I", masked(message))
        with self.path.open("ab") as file:
            file.write(record)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _table()


def crc32c(data: bytes) -> int:
    """Castagnoli's cyclic redundancy check (RFC 3720, appendix B.4)."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    """The checksum as TFRecord stores it: rotated and offset."""
    value = crc32c(data)
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF
