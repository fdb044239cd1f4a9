"""Block formats: blocks worked by hand, ggml's own Python where installed, and bounds that always hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tutelage.interchange.gguf.quants import (
    BF16,
    F16,
    F32,
    KIND_BY_CODE,
    Q4_0,
    Q4_1,
    Q4_K,
    Q5_0,
    Q5_1,
    Q5_K,
    Q6_K,
    Q8_0,
    Kind,
    dequantize,
    quantize,
)  # fmt: skip
from tutelage.store.errors import InputError

HALF = bytes([0x00, 0x38])  # 0.5 as float16
TWO = bytes([0x00, 0x40])  # 2.0
ONE = bytes([0x00, 0x3C])  # 1.0


def numbers(content: bytes, kind: Kind) -> list[float]:
    return dequantize(np.frombuffer(content, np.uint8), kind).tolist()


def test_plain_numbers() -> None:
    assert numbers(np.array([1.5, -2], "<f4").tobytes(), F32) == [1.5, -2]
    assert numbers(HALF + TWO, F16) == [0.5, 2]
    assert numbers(bytes([0xC0, 0x3F, 0x00, 0xC0]), BF16) == [1.5, -2]


def test_q8_0() -> None:
    assert numbers(HALF + bytes([2, 0xFF, *[0] * 29, 0x80]), Q8_0) == [1, -0.5, *[0] * 29, -64]


def test_q4_halves_of_a_byte_lie_sixteen_apart() -> None:
    # 0x9F: number 0 is 15, number 16 is 9; all others 8 and 0.
    packed = bytes([0x9F, *[0x08] * 15])
    assert numbers(HALF + packed, Q4_0) == [3.5, *[0] * 15, 0.5, *[-4] * 15]
    assert numbers(HALF + TWO + packed, Q4_1) == [9.5, *[6] * 15, 6.5, *[2] * 15]


def test_q5_has_a_fifth_bit_per_number() -> None:
    packed = bytes([0x21, *[0] * 15])
    high = (1 << 0 | 1 << 17).to_bytes(4, "little")  # 16 more for numbers 0 and 17
    assert numbers(ONE + high + packed, Q5_0) == [1, *[-16] * 15, -14, 0, *[-16] * 14]
    assert numbers(ONE + TWO + high + packed, Q5_1) == [19, *[2] * 15, 4, 18, *[2] * 14]


def test_q4_k_and_q5_k() -> None:
    # Group 0 has scale 3 and offset 5; group 5 has scale 33 = 1 + 2 * 16 and offset 20 = 4 + 1 * 16.
    scales = bytearray(12)
    scales[0], scales[4] = 3, 5
    scales[9], scales[1], scales[5] = 0x41, 0b10_000000, 0b01_000000
    packed = bytearray(128)
    packed[0], packed[2 * 32 + 1] = 0x07, 0xA0  # number 0 is 7; group 5, number 1, is 10
    found = numbers(ONE + HALF + bytes(scales) + bytes(packed), Q4_K)
    assert found[:2] == [7 * 3 - 2.5, -2.5]
    assert found[160:163] == [-10, 10 * 33 - 10, -10]
    assert set(found[32:160]) == {0}
    high = bytearray(32)
    high[1] = 1 << 5  # group 5, number 1: 16 more
    found = numbers(ONE + HALF + bytes(scales) + bytes(high) + bytes(packed), Q5_K)
    assert found[160:163] == [-10, 26 * 33 - 10, -10]


def test_q6_k() -> None:
    low, high, scales = bytearray(128), bytearray(64), bytearray([1] * 16)
    low[0], low[64] = 0x5A, 0x03  # number 0 is 10, number 64 is 5; number 128 is 3
    high[0] = 0b00_01_00_11  # 48 more for number 0, 16 more for number 64
    scales[4] = 0xFE  # -2 for numbers 64 to 79
    found = numbers(bytes(low) + bytes(high) + bytes(scales) + HALF, Q6_K)
    assert (found[0], found[1], found[64], found[65], found[128]) == (13, -16, 11, 32, -14.5)


def test_written_blocks() -> None:
    ramp = np.arange(32, dtype=np.float32)
    assert quantize(ramp, Q4_1)[:4].tobytes() == np.array([31 / 15, 0], "<f2").tobytes()
    assert quantize(ramp, Q4_1)[4:6].tolist() == [0 | 8 << 4, 0 | 8 << 4]  # 16 and 17 in steps of 31/15 are 7.7, 8.2
    negative = np.where(ramp == 3, np.float32(-8), np.float32(2))
    assert quantize(negative, Q4_0)[:2].tobytes() == np.array([1], "<f2").tobytes()
    assert quantize(negative, Q4_0)[2:6].tolist() == [0xAA, 0xAA, 0xAA, 0xA0]
    assert quantize(np.full(32, 127, np.float32) * np.where(ramp == 1, 0.5, 1), Q8_0).view(np.int8)[2:4].tolist() == [
        127,
        64,  # half away from zero
    ]
    assert quantize(np.array([1 + 2**-8, 1 + 3 * 2**-8], np.float32), BF16).view(np.uint16).tolist() == [0x3F80, 0x3F82]


@pytest.mark.parametrize("kind", [F32, F16, BF16, Q8_0, Q4_0, Q4_1], ids=lambda kind: kind.name)
def test_zeros_stay_zeros(kind: Kind) -> None:
    assert not dequantize(quantize(np.zeros(64, np.float32), kind), kind).any()


finite = st.floats(-1000, 1000, width=32)


@settings(max_examples=100, deadline=None)
@given(values=hnp.arrays(np.float32, 64, elements=finite))
def test_rounding_stays_within_a_step(values: np.ndarray) -> None:
    blocks = values.reshape(2, 32)
    spread, largest = np.ptp(blocks, axis=1), np.abs(blocks).max(axis=1)
    # Q4_0's range is one step shorter on the side away from the largest number.
    steps = {Q8_0: largest / 127 / 2, Q4_0: largest / 8, Q4_1: spread / 15 / 2, F16: largest * 2**-11}
    for kind, step in steps.items():
        error = np.abs(dequantize(quantize(values, kind), kind).reshape(2, 32) - blocks)
        slack = largest * 2**-9 + 1e-4  # scales themselves are float16
        assert (error <= (step + slack)[:, None]).all(), kind.name


def test_numbers_that_cannot_be_stored_are_refused() -> None:
    for bad in (np.nan, np.inf):
        with pytest.raises(InputError, match="not finite"):
            quantize(np.full(32, bad, np.float32), Q8_0)
    for kind, large in ((F16, 1e5), (Q4_0, 1e7), (Q4_1, 1e6), (Q8_0, 1e8), (BF16, 3.4028235e38)):
        with pytest.raises(InputError, match="too large"):
            quantize(np.full(32, large, np.float32), kind)


@pytest.mark.parity
@pytest.mark.parametrize("kind", KIND_BY_CODE.values(), ids=lambda kind: kind.name)
def test_reads_as_the_reference_bit_for_bit(kind: Kind) -> None:
    theirs = pytest.importorskip("gguf")
    raw = np.random.default_rng(1).integers(0, 256, (40, kind.size * 7), np.uint8)
    with np.errstate(all="ignore"):
        expected = theirs.quants.dequantize(raw, theirs.GGMLQuantizationType[kind.name]).ravel()
    np.testing.assert_array_equal(dequantize(raw, kind), expected)


@pytest.mark.parity
@pytest.mark.parametrize("kind", [F32, F16, BF16, Q8_0, Q4_0, Q4_1], ids=lambda kind: kind.name)
def test_writes_as_the_reference_bit_for_bit(kind: Kind) -> None:
    theirs = pytest.importorskip("gguf")
    rng = np.random.default_rng(2)
    values = rng.standard_normal((200, 96)).astype(np.float32)
    values *= 10.0 ** rng.integers(-6, 3, (200, 1)).astype(np.float32)
    values[0], values[1], values[2, ::2] = 0, 3, 1
    with np.errstate(all="ignore"):
        expected = theirs.quants.quantize(values, theirs.GGMLQuantizationType[kind.name])
    ours = quantize(values, kind)
    np.testing.assert_array_equal(ours, expected.view(np.uint8).ravel())
