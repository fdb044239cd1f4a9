"""How much more data: promises that are kept, flat curves said to be flat, and intervals that hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from planted_rows import answered, labelled, write

from tutelage.evaluation.curve import bits_gain
from tutelage.guidance.rows.more import more_data
from tutelage.guidance.rows.reading import read_rows
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog


def test_bits_follow_the_power_law_with_a_floor_they_were_made_by() -> None:
    def law(n: float) -> float:
        return float(1.0 + 3.0 * n**-0.3)

    rows = [100, 200, 400, 800]
    sizes = np.full(60, 100.0)
    noise = np.random.default_rng(1).normal(1, 0.1, 60)
    bits = np.stack([law(n) * sizes * noise for n in rows])
    found = bits_gain(bits, sizes, 0.95, 300, 1)
    assert found.value == pytest.approx((law(1600) - law(800)) * noise.mean(), rel=0.05)
    assert found.low is not None and found.high is not None and found.low < found.value < found.high < 0
    four = bits_gain(bits, sizes, 0.95, 300, 1, times=4.0)
    assert four.value == pytest.approx((law(3200) - law(800)) * noise.mean(), rel=0.07)


@pytest.mark.slow
def test_what_is_promised_of_labels_comes_about(tmp_path: Path) -> None:
    """Noise in a fifth of the labels: half of the file promises what the whole file gives."""
    rows, _ = labelled(800, 160, 0, 0)
    half = more_data(read_rows(write(tmp_path / "half.jsonl", rows[:400])), EventLog())
    whole = more_data(read_rows(write(tmp_path / "whole.jsonl", rows)), EventLog())
    promised = half["promises"][0]
    change = whole["points"][-1]["value"] - half["points"][-1]["value"]
    assert promised["low"] <= change <= promised["high"]
    assert [point["rows"] for point in whole["points"]] == [80, 160, 320, 640]


def test_a_file_that_is_learned_needs_no_more(tmp_path: Path) -> None:
    found = more_data(read_rows(write(tmp_path / "rows.jsonl", labelled(400, 0, 5, 0)[0])), EventLog())
    assert found["points"][-1]["value"] > 99
    assert found["doubled"] == 5
    assert found["measure"] == "accuracy in percent"
    assert "more data will help" not in found["text"]


def test_answers_are_measured_in_bits(tmp_path: Path) -> None:
    found = more_data(read_rows(write(tmp_path / "rows.jsonl", answered(300, 0, 0, 0)[0])), EventLog())
    values = [point["value"] for point in found["points"]]
    assert values == sorted(values, reverse=True)
    assert found["measure"] == "bits per byte"
    assert found["promises"][0]["high"] < 0
    assert "more data will help" in found["text"]
    with pytest.raises(InputError, match="40 distinct rows; a learning curve requires 80"):
        more_data(read_rows(write(tmp_path / "few.jsonl", answered(40, 0, 0, 0)[0])), EventLog())
