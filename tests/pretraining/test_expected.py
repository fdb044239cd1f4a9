"""What is expected of a fresh model, from the small runs in the package."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tutelage.pretraining.config import PretrainConfig
from tutelage.pretraining.expected import by_the_defaults, expected_bits, fitted, reference, reference_runs
from tutelage.pretraining.forecast import expected_figures

DEFAULT = PretrainConfig().training


def test_the_runs_that_it_rests_on_lie_in_their_ranges() -> None:
    """The package's data and law belong together; nine in ten are stated."""
    held = []
    for run in reference_runs():
        seen = run["passes"] * run["train_bytes"]
        told = expected_bits(run["block_parameters"], run["vocab_size"], run["train_bytes"], seen, run["ppmd_bits"])
        held.append(told.holds(run["bits_per_byte"]))
    assert len(held) >= 12 and sum(held) >= 0.9 * len(held)
    assert len(reference().offsets) >= 4 and 0.005 < reference().law.scatter < 0.05


def test_the_law_in_the_package_is_that_of_its_runs() -> None:
    """Whoever adds runs fits again."""
    runs = reference_runs()
    again, kept = fitted(runs), reference()
    assert kept.runs == len(runs) and kept.offsets == pytest.approx(again.offsets, abs=1e-3)
    assert kept.between == pytest.approx(again.between, rel=1e-2)
    assert kept.law.loss(1e6, 2048, 4e6) == pytest.approx(again.law.loss(1e6, 2048, 4e6), rel=1e-3)


def test_larger_models_more_text_and_easier_text_need_fewer_bits() -> None:
    middle = expected_bits(1e6, 2048, 1e7, 4e6, 2.0).middle
    assert expected_bits(2e6, 2048, 1e7, 4e6, 2.0).middle < middle < expected_bits(1e6, 2048, 1e7, 2e6, 2.0).middle
    assert expected_bits(1e6, 2048, 1e7, 4e6, 1.0).middle == pytest.approx(middle / 2)


def test_repeated_text_is_worth_less_than_fresh_text() -> None:
    fresh, repeated = (expected_bits(1e6, 2048, unique, 8e6, 2.0).middle for unique in (8e6, 1e6))
    assert fresh < repeated


def test_of_a_text_that_is_known_the_range_is_narrower() -> None:
    known, other = (expected_bits(1e6, 2048, 6e6, 4e6, 2.24, text) for text in ("python", ""))
    assert known.high - known.low < 0.7 * (other.high - other.low)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, True),
        ({"learning_rate": 0.004}, True),
        ({"learning_rate": 0.06}, False),
        ({"learning_rate": 0.0}, False),
        ({"optimizer": "adamw"}, False),
        ({"schedule": "constant"}, False),
    ],
)
def test_of_settings_far_from_those_of_the_runs_nothing_is_said(change: dict[str, object], told: bool) -> None:
    assert by_the_defaults(DEFAULT.model_copy(update=change), 1.4e6) is told


def test_of_a_run_far_shorter_than_those_nothing_is_said() -> None:
    config = SimpleNamespace(model=object(), pretrain=PretrainConfig())
    facts = {"parameters": 3e6, "block_parameters": 1e6, "vocab_size": 2048, "train_tokens": 2e6}
    corpus = {"train_bytes": 6e6, "ppmd_bits": 2.2}
    short, long = (expected_figures(config, corpus, {**facts, "tokens": tokens}, 0.0) for tokens in (1e3, 1e6))
    assert short == {} and "heldout_bits_per_byte" in long
