"""The TensorBoard file, read back by a reader of its own."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from tutelage.store.events import EventLog
from tutelage.store.tensorboard import TensorBoard, crc32c, masked


def fields(message: bytes) -> list[tuple[int, Any]]:
    """(number, value) of a protocol buffer message."""
    found, at = [], 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == 0:
            found.append((key >> 3, varint()))
        elif key & 7 == 1:
            found.append((key >> 3, struct.unpack("<d", message[at : at + 8])[0]))
            at += 8
        elif key & 7 == 5:
            found.append((key >> 3, struct.unpack("<f", message[at : at + 4])[0]))
            at += 4
        else:
            size = varint()
            found.append((key >> 3, message[at : at + size]))
            at += size
    return found


def records(path: Path) -> list[bytes]:
    content, at, found = path.read_bytes(), 0, []
    while at < len(content):
        (size,) = struct.unpack("<Q", content[at : at + 8])
        assert struct.unpack("<I", content[at + 8 : at + 12])[0] == masked(content[at : at + 8])
        message = content[at + 12 : at + 12 + size]
        assert struct.unpack("<I", content[at + 12 + size : at + 16 + size])[0] == masked(message)
        found.append(message)
        at += 16 + size
    return found


def test_checksum_of_the_standard() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4


def test_figures_come_back(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path / "board")
    log = EventLog(None, (board,)).for_stage("pretrain")
    log.emit("step", step=7, total=10, loss=2.5, lr=1e-3, tokens_per_second=9000)
    log.emit("validation", step=300, total=400, bits_per_byte=1.25)
    log.note("not a figure")
    first, *events = records(board.path)
    assert dict(fields(first))[3] == b"brain.Event:2"
    seen = {}
    for event in events:
        parts = dict(fields(event))
        for _, value in fields(parts[5]):
            tag, number = (content for _, content in fields(value))
            seen[tag.decode(), parts[2]] = number
    assert seen == {
        ("pretrain/loss", 7): 2.5, ("pretrain/lr", 7): pytest.approx(1e-3), ("pretrain/tokens_per_second", 7): 9000,
        ("pretrain/validation_bits_per_byte", 300): 1.25,
    }  # fmt: skip
