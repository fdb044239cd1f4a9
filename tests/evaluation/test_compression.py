"""Compressors: primed never loses to alone on like text, and the command line agrees."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import numpy as np
import pytest

from tutelage.evaluation.compression import compressed_bits_per_byte, joined
from tutelage.store.events import EventLog


def _texts(seed: int, count: int) -> list[str]:
    words = [f"{a}{b}" for a in ("re", "un", "con", "in", "pro") for b in ("turn", "form", "vert", "do", "ceed")]
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(words, size=12)) + "." for _ in range(count)]


def test_priming_with_like_text_helps_and_progress_reaches_the_end() -> None:
    events: list[dict[str, Any]] = []
    log = EventLog(listeners=(events.append,))
    train, heldout = joined(_texts(1, 2000)), joined(_texts(2, 100))
    rates = compressed_bits_per_byte(train, heldout, log)
    assert list(rates) == ["ppmd", "ppmd primed", "xz", "xz primed", "zstd", "zstd primed"]
    assert rates["ppmd primed"] < rates["ppmd"]
    assert rates["ppmd primed"] < 0.9 * rates["xz primed"]
    assert rates["xz primed"] < rates["xz"]
    assert rates["zstd primed"] < rates["zstd"]
    assert all(0.5 < rate < 4 for rate in rates.values())
    assert events[-1]["done"] == events[-1]["total"] == 3 * 2 * (len(train) + len(heldout))


def test_text_seen_in_training_costs_almost_nothing() -> None:
    # 1.3 MB lie between the repeated text and its first occurrence: a small window would not see it.
    train = joined(_texts(1, 15_000))
    rates = compressed_bits_per_byte(train, train[:20_000], EventLog())
    assert rates["xz primed"] < 0.05
    assert rates["zstd primed"] < 0.05
    assert rates["ppmd primed"] < 0.8  # it forgets nothing, but predicts from eight characters


def test_ppmd_can_be_read_again_at_the_size_that_is_counted() -> None:
    import pyppmd

    from tutelage.evaluation.compression import _ppmd

    text = joined(_texts(2, 3000))
    encoder = pyppmd.Ppmd7Encoder(8, 1 << 24)
    packed = encoder.encode(text) + encoder.flush()
    assert _ppmd(text, lambda count: None) == pytest.approx(len(packed), abs=8)
    assert pyppmd.Ppmd7Decoder(8, 1 << 24).decode(packed, len(text)) == text


@pytest.mark.parity
@pytest.mark.skipif(shutil.which("xz") is None, reason="no xz command here")
def test_xz_alone_is_the_command_line_tool() -> None:
    heldout = joined(_texts(2, 500))
    tool = subprocess.run(["xz", "-9e", "--check=none", "-c"], input=heldout, capture_output=True, check=True)
    rate = compressed_bits_per_byte(b"x", heldout, EventLog())["xz"]
    assert rate == pytest.approx(8 * len(tool.stdout) / len(heldout), abs=0.01)


@pytest.mark.parity
@pytest.mark.skipif(shutil.which("zstd") is None, reason="no zstd command here")
def test_zstd_alone_is_the_command_line_tool() -> None:
    heldout = joined(_texts(2, 500))
    tool = subprocess.run(["zstd", "-19", "--long", "--no-check", "-c"], input=heldout, capture_output=True, check=True)
    rate = compressed_bits_per_byte(b"x", heldout, EventLog())["zstd"]
    assert rate == pytest.approx(8 * len(tool.stdout) / len(heldout), rel=0.01)
