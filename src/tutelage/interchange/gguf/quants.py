"""Quantisation formats of GGUF: blocks of small integers with a scale (and an offset), to float32 and back.

Formats and rounding are those of ggml's reference (ggml/src/ggml-quants.c). Arrays are processed in slices that fit the
processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tutelage.store.errors import InputError

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_SLICE = 1 << 15  # numbers per slice


@dataclass(frozen=True)
class Kind:
    """A tensor type: its `code` in the file, and `block` numbers in `size` bytes."""

    name: str
    code: int
    block: int
    size: int


F32, F16, BF16 = Kind("F32", 0, 1, 4), Kind("F16", 1, 1, 2), Kind("BF16", 30, 1, 2)
Q4_0, Q4_1 = Kind("Q4_0", 2, 32, 18), Kind("Q4_1", 3, 32, 20)
Q5_0, Q5_1 = Kind("Q5_0", 6, 32, 22), Kind("Q5_1", 7, 32, 24)
Q8_0 = Kind("Q8_0", 8, 32, 34)
Q4_K, Q5_K, Q6_K = Kind("Q4_K", 12, 256, 144), Kind("Q5_K", 13, 256, 176), Kind("Q6_K", 14, 256, 210)

KIND_BY_CODE = {kind.code: kind for kind in (F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K)}
UNSUPPORTED_CODES = {
    9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
    20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
    29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4",
}  # fmt: skip
"""Known but unsupported types, for the error message."""


def dequantize(raw: Bytes, kind: Kind) -> Floats:
    """The numbers in `raw` (uint8, whole blocks) as a new flat float32 array."""
    blocks = raw.reshape(-1, kind.size)
    out = np.empty((len(blocks), kind.block), np.float32)
    step = max(1, _SLICE // kind.block)
    with np.errstate(all="ignore"):  # scales of a damaged file may be infinite
        for begin in range(0, len(blocks), step):
            _READERS[kind.name](blocks[begin : begin + step], out[begin : begin + step])
    return out.reshape(-1)


def quantize(values: Floats, kind: Kind) -> Bytes:
    """The bytes of float32 numbers, rounded as in ggml's reference; rows are multiples of `kind.block`.

    Raises InputError if a number is not finite or out of range for the type.
    """
    blocks = np.ascontiguousarray(values, np.float32).reshape(-1, kind.block)
    out = np.empty((len(blocks), kind.size), np.uint8)
    step = max(1, _SLICE // kind.block)
    with np.errstate(all="ignore"):
        for begin in range(0, len(blocks), step):
            part = blocks[begin : begin + step]
            if not np.isfinite(part).all():
                raise InputError("a number is not finite")
            _WRITERS[kind.name](part, out[begin : begin + step])
    return out.reshape(-1)


def _half(blocks: Bytes, at: int) -> Floats:
    """The float16 at byte `at` of each block, as a column."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view(np.float16).astype(np.float32)


def four_bits(raw: Bytes, kind: Kind) -> tuple[Bytes, Floats, Floats] | None:
    """Codes [blocks, 32] from 0 to 15, scale and offset [blocks] of data in Q4_0 or Q4_1, where a number is
    code * scale + offset; None for another type."""
    if kind not in (Q4_0, Q4_1):
        return None
    blocks = raw.reshape(-1, kind.size)
    packed = blocks[:, kind.size - 16 :]
    codes = np.concatenate([packed & 15, packed >> 4], axis=1)
    scale = _half(blocks, 0)[:, 0]
    with np.errstate(all="ignore"):  # scales of a damaged file may be infinite
        offset = -8 * scale if kind == Q4_0 else _half(blocks, 2)[:, 0]
    return codes, scale, offset


# Reading: blocks [n, size] uint8 -> out [n, block] float32.


def _read_f32(blocks: Bytes, out: Floats) -> None:
    out[:] = np.ascontiguousarray(blocks).view(np.float32)


def _read_f16(blocks: Bytes, out: Floats) -> None:
    out[:] = np.ascontiguousarray(blocks).view(np.float16)


def _read_bf16(blocks: Bytes, out: Floats) -> None:
    # bfloat16 is the upper half of a float32.
    np.left_shift(np.ascontiguousarray(blocks).view(np.uint16), 16, out=out.view(np.uint32), dtype=np.uint32)


def _read_q8_0(blocks: Bytes, out: Floats) -> None:
    out[:] = np.ascontiguousarray(blocks[:, 2:]).view(np.int8)
    out *= _half(blocks, 0)


def _read_q4_0(blocks: Bytes, out: Floats) -> None:
    _nibbles(blocks[:, 2:], out)
    out -= 8
    out *= _half(blocks, 0)


def _read_q4_1(blocks: Bytes, out: Floats) -> None:
    _nibbles(blocks[:, 4:], out)
    out *= _half(blocks, 0)
    out += _half(blocks, 2)


def _read_q5_0(blocks: Bytes, out: Floats) -> None:
    _nibbles(blocks[:, 6:], out)
    out += _fifth_bits(blocks[:, 2:6])
    out -= 16
    out *= _half(blocks, 0)


def _read_q5_1(blocks: Bytes, out: Floats) -> None:
    _nibbles(blocks[:, 8:], out)
    out += _fifth_bits(blocks[:, 4:8])
    out *= _half(blocks, 0)
    out += _half(blocks, 2)


def _nibbles(packed: Bytes, out: Floats) -> None:
    # Byte j contains number j in its lower and number j + 16 in its upper half.
    packed = np.ascontiguousarray(packed)
    numbers = np.empty(out.shape, np.uint8)
    np.bitwise_and(packed, 15, out=numbers[:, :16])
    np.right_shift(packed, 4, out=numbers[:, 16:])
    out[:] = numbers


def _fifth_bits(packed: Bytes) -> Bytes:
    """The fifth bit of each of 32 numbers, in its place: 0 or 16."""
    return np.left_shift(np.unpackbits(np.ascontiguousarray(packed), axis=1, bitorder="little"), 4, dtype=np.uint8)


def _read_q4_k(blocks: Bytes, out: Floats) -> None:
    # Eight groups of 32; byte 32 g + j contains numbers 64 g + j and 64 g + 32 + j.
    packed = blocks[:, 16:].reshape(-1, 4, 1, 32)
    numbers = np.concatenate([packed & 15, packed >> 4], axis=2).reshape(-1, 8, 32)
    _scaled_groups(blocks, numbers, out)


def _read_q5_k(blocks: Bytes, out: Floats) -> None:
    packed = blocks[:, 48:].reshape(-1, 4, 1, 32)
    numbers = np.concatenate([packed & 15, packed >> 4], axis=2).reshape(-1, 8, 32)
    # Bit g of byte j is the fifth bit of number 32 g + j.
    high = (blocks[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[:, None]) & 1
    _scaled_groups(blocks, numbers | (high << 4), out)


def _scaled_groups(blocks: Bytes, numbers: Bytes, out: Floats) -> None:
    """Groups [n, 8, 32] times their 6-bit scales minus their 6-bit offsets, which are packed in bytes 4 to 16."""
    first, second, third = (blocks[:, at : at + 4] for at in (4, 8, 12))
    scale = np.concatenate([first & 63, (third & 15) | ((first >> 2) & 48)], axis=1)  # [n, 8]
    offset = np.concatenate([second & 63, (third >> 4) | ((second >> 2) & 48)], axis=1)
    shaped = out.reshape(-1, 8, 32)
    np.multiply(numbers, (_half(blocks, 0) * scale)[:, :, None], out=shaped)
    shaped -= (_half(blocks, 2) * offset)[:, :, None]


def _read_q6_k(blocks: Bytes, out: Floats) -> None:
    packed = blocks[:, :128].reshape(-1, 2, 1, 64)
    low = np.concatenate([packed & 15, packed >> 4], axis=2).reshape(-1, 8, 32)
    high = blocks[:, 128:192].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8)[:, None]
    numbers = (low | ((high & 3) << 4).reshape(-1, 8, 32)).reshape(-1, 16, 16).astype(np.float32)
    numbers -= 32
    scale = blocks[:, 192:208].view(np.int8) * _half(blocks, 208)  # [n, 16]
    np.multiply(numbers, scale[:, :, None], out=out.reshape(-1, 16, 16))


# Writing: values [n, block] float32 -> out [n, size] uint8.


def _write_f32(values: Floats, out: Bytes) -> None:
    out.view(np.float32)[:] = values


def _write_f16(values: Floats, out: Bytes) -> None:
    _put_halves(out, 0, values)


def _write_bf16(values: Floats, out: Bytes) -> None:
    bits = values.view(np.uint32)
    rounded = (bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16  # to nearest, ties to even
    out.view(np.uint16)[:] = rounded
    if ((rounded & 0x7F80) == 0x7F80).any():
        raise InputError("a number is too large for bfloat16")


def _write_q8_0(values: Floats, out: Bytes) -> None:
    scale = np.abs(values).max(axis=1, keepdims=True) / np.float32(127)
    scaled = values * _inverse(scale)
    magnitude = np.floor(np.abs(scaled))  # rounding half away from zero, as C's roundf
    magnitude += np.floor(2 * (np.abs(scaled) - magnitude))
    _put_halves(out, 0, scale)
    out[:, 2:].view(np.int8)[:] = np.copysign(magnitude, scaled)


def _write_q4_0(values: Floats, out: Bytes) -> None:
    # The number of largest magnitude becomes exactly -8, whatever its sign.
    largest = np.take_along_axis(values, np.abs(values).argmax(axis=1, keepdims=True), axis=1)
    scale = largest / np.float32(-8)
    _put_halves(out, 0, scale)
    _put_nibbles(out, 2, values * _inverse(scale) + np.float32(8.5))


def _write_q4_1(values: Floats, out: Bytes) -> None:
    least = values.min(axis=1, keepdims=True)
    scale = (values.max(axis=1, keepdims=True) - least) / np.float32(15)
    _put_halves(out, 0, scale)
    _put_halves(out, 2, least)
    _put_nibbles(out, 4, (values - least) * _inverse(scale) + np.float32(0.5))


def _inverse(scale: Floats) -> Floats:
    inverse = 1 / scale
    return np.where(np.isfinite(inverse), inverse, np.float32(0))


def _put_halves(out: Bytes, at: int, values: Floats) -> None:
    halves = values.astype(np.float16)
    if not np.isfinite(halves).all():
        raise InputError("a number is too large for float16")
    out[:, at : at + 2 * values.shape[1]] = halves.view(np.uint8)


def _put_nibbles(out: Bytes, at: int, values: Floats) -> None:
    numbers = np.minimum(values, 15).astype(np.uint8)
    out[:, at:] = numbers[:, :16] | (numbers[:, 16:] << 4)


_READERS: dict[str, Callable[[Any, Any], None]] = {
    "F32": _read_f32, "F16": _read_f16, "BF16": _read_bf16, "Q8_0": _read_q8_0, "Q4_0": _read_q4_0,
    "Q4_1": _read_q4_1, "Q5_0": _read_q5_0, "Q5_1": _read_q5_1, "Q4_K": _read_q4_k, "Q5_K": _read_q5_k,
    "Q6_K": _read_q6_k,
}  # fmt: skip
_WRITERS: dict[str, Callable[[Any, Any], None]] = {
    "F32": _write_f32, "F16": _write_f16, "BF16": _write_bf16, "Q8_0": _write_q8_0, "Q4_0": _write_q4_0,
    "Q4_1": _write_q4_1,
}  # fmt: skip
