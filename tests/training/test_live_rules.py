"""Warnings while a run trains: each rule fires on its numbers, once, and stays silent on healthy ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_run import config, objective, weights

from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.store.errors import ConfigError, TrainingError
from tutelage.store.events import EventLog
from tutelage.training import live_rules
from tutelage.training.live_rules import RULE_NAMES, WINDOW, History, shift
from tutelage.training.loop import train
from tutelage.training.objective import stop_probability


def history(steps: int = 3 * WINDOW, noise: float = 0.0, seed: int = 0, **metrics: tuple[float, float]) -> History:
    """A run whose metrics go from one value to another in a straight line."""
    draw = np.random.default_rng(seed)
    found = History()
    for step in range(steps):
        part = step / (steps - 1)
        found.add_step({name: a + (b - a) * part + noise * draw.normal() for name, (a, b) in metrics.items()})
    return found


def names(found: History) -> list[str]:
    return [finding.name for finding in found.news()]


@pytest.mark.parametrize(
    ("rule", "bad", "healthy"),
    [
        ("chosen_falls", {"chosen_logp": (-1.0, -1.6), "margin": (0.0, 2.0)},
         {"chosen_logp": (-1.0, -0.8), "margin": (0.0, 2.0)}),
        ("length_drift", {"answer_tokens": (30.0, 60.0)}, {"answer_tokens": (30.0, 33.0)}),
        ("stop_falls", {"stop_probability": (0.9, 0.4)}, {"stop_probability": (0.4, 0.9)}),
        ("kl_blow_up", {"kl": (0.0, 3.0)}, {"kl": (0.0, 0.2)}),
        ("entropy_collapse", {"entropy": (1.0, 0.01)}, {"entropy": (1.0, 0.6)}),
        ("entropy_collapse", {"entropy": (1.0, 0.01), "reward": (0.6, 0.2)},
         {"entropy": (1.0, 0.01), "reward": (0.2, 0.9)}),
        ("no_signal", {"zero_variance": (1.0, 1.0)}, {"zero_variance": (1.0, 0.5)}),
    ],
)  # fmt: skip
def test_each_rule_fires_with_its_numbers_and_not_on_a_healthy_run(
    rule: str, bad: dict[str, tuple[float, float]], healthy: dict[str, tuple[float, float]]
) -> None:
    assert names(history(**healthy)) == []
    found = history(**bad)
    (finding,) = found.news()
    assert finding.name == rule and any(letter.isdigit() for letter in finding.says) and finding.advice in finding.text
    assert found.news() == []  # once


def test_a_move_within_the_noise_of_the_steps_is_none() -> None:
    """The same mean move, with batches that differ: three standard errors or nothing."""
    wanted = {"chosen_logp": (-1.0, -1.25), "margin": (0.0, 0.5)}
    assert names(history(**wanted)) == ["chosen_falls"]
    assert names(history(noise=1.0, **wanted)) == []
    moved = shift(history(noise=1.0, **wanted), "chosen_logp")
    assert moved is not None and moved.error == pytest.approx(np.sqrt(2 / WINDOW), rel=0.4)


def test_no_step_says_anything_before_both_windows_are_full() -> None:
    assert names(history(2 * WINDOW - 1, kl=(9.0, 9.0), answer_tokens=(1.0, 90.0))) == []
    assert names(history(2 * WINDOW, kl=(9.0, 9.0))) == ["kl_blow_up"]


def validated(held_out: list[float], training: list[float]) -> History:
    found = History()
    for number, (held, trained) in enumerate(zip(held_out, training, strict=True)):
        for _ in range(WINDOW):
            found.add_step({"loss": trained})
        for _ in range(WINDOW):
            found.add_step({"loss": trained})
        found.add_validation(100 * (number + 1), {"loss": held})
    return found


@pytest.mark.parametrize(
    ("held_out", "training", "said"),
    [
        ([2.0, 1.8, 1.85, 1.9, 2.0], [2.0, 1.5, 1.2, 1.0, 0.8], True),
        ([2.0, 1.8, 1.85, 1.84, 2.0], [2.0, 1.5, 1.2, 1.0, 0.8], False),  # not in a row
        ([2.0, 1.8, 1.801, 1.802, 1.803], [2.0, 1.5, 1.2, 1.0, 0.8], False),  # a hair
        ([2.0, 1.8, 1.85, 1.9, 2.0], [2.0, 1.5, 1.7, 1.8, 1.9], False),  # the training loss rises too: no overfitting
        ([1.8, 1.85, 1.9], [2.0, 1.5, 1.2], False),  # too few
    ],
)
def test_overfitting_is_a_rise_in_three_validations_while_training_falls(
    held_out: list[float], training: list[float], said: bool
) -> None:
    found = validated(held_out, training)
    assert names(found) == (["overfitting"] if said else [])
    if said:
        says = next(rule for rule in live_rules.RULES if rule.name == "overfitting").find(found)
        assert says and "1.800 at step 200 to 2.000 at step 500" in says and "1.500 to 0.800" in says


def test_held_out_pairs_tell_of_a_fall_without_noise() -> None:
    found = History()
    found.add_validation(1, {"chosen_logp": -1.0, "margin": 0.0})
    assert names(found) == []
    found.add_validation(2, {"chosen_logp": -1.5, "margin": 1.0})
    (finding,) = found.news()
    assert "on held-out pairs" in finding.says and "0.50 nats per token" in finding.says


def test_the_history_survives_json_and_a_rollback_says_nothing_twice() -> None:
    found = history(kl=(0.0, 3.0), loss=(2.0, float("inf")))
    before = json.loads(json.dumps(found.state(), allow_nan=False))
    assert names(found) == ["kl_blow_up"]
    found.load(before)
    assert found.said == ["kl_blow_up"] and found.news() == []
    fresh = History()
    fresh.load(before)
    assert fresh.state() == before


def test_the_probability_of_the_stop_token_is_that_of_the_places_where_it_is_the_target() -> None:
    nll, targets = torch.tensor([0.5, 1.0, 2.0]), torch.tensor([7, 3, 9])
    total, count = stop_probability(nll, targets, (7, 9))
    assert float(count) == 2 and float(total) == pytest.approx(np.exp(-0.5) + np.exp(-2.0), rel=1e-6)


SHAPE = FamilyConfig(vocab_size=64, hidden_size=16, intermediate_size=32, num_layers=1, num_heads=2, num_kv_heads=1,
                     max_position_embeddings=32)  # fmt: skip


@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that speaks at the third step."""
    late = live_rules.LiveRule("kl_blow_up", lambda found: "too far" if len(found.first) >= 3 else None, "turn back")
    monkeypatch.setattr(live_rules, "RULES", (late,))


def _train(work: Path, heard: list[dict[str, Any]], **changes: Any) -> DecoderLM:
    model = DecoderLM(SHAPE, seed=1)
    train(model, objective(), config(**changes), work, EventLog(listeners=(heard.append,)), 0)
    return model


def test_a_run_stops_where_it_is_asked_to_and_goes_on_without_that(early: None, tmp_path: Path) -> None:
    plain: list[dict[str, Any]] = []
    whole = _train(tmp_path / "whole", plain)
    warned = [event["message"] for event in plain if event["event"] == "warning"]
    assert warned == ["step 3: too far: turn back"]
    heard: list[dict[str, Any]] = []
    for _ in range(2):  # the same command stops at the same place
        with pytest.raises(TrainingError, match=r"stopped at step 3 of 12, because of training.stop_on: kl_blow_up"):
            _train(tmp_path / "stopped", heard, stop_on=["kl_blow_up"])
    assert max(event["step"] for event in heard if event["event"] == "step") == 3
    heard.clear()
    resumed = _train(tmp_path / "stopped", heard)
    assert torch.equal(weights(resumed), weights(whole))
    assert [event for event in heard if event["event"] == "warning"] == []
    assert min(event["step"] for event in heard if event["event"] == "step") == 4


def test_the_loop_hands_every_step_and_every_validation_to_the_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, list[float], list[str]]] = []

    def look(found: History) -> None:
        steps = [one["step"] for one in found.validations]
        seen.append((len(found.first), steps, sorted(found.validations[-1]) if steps else []))

    monkeypatch.setattr(live_rules, "RULES", (live_rules.LiveRule("kl_blow_up", look, ""),))
    _train(tmp_path, [])
    assert [steps for steps, _, _ in seen] == list(range(1, 13))
    assert seen[-1][1] == [4, 8] and {"loss", "training_loss", "step"} <= set(seen[-1][2])


def test_an_unknown_warning_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown warning 'overfiting': did you mean 'overfitting'"):
        config(stop_on=["overfiting"])
    with pytest.raises(ConfigError, match="set validate_every"):
        config(stop_on=["overfitting"], validate_every=0)
    assert config(stop_on=list(RULE_NAMES)).stop_on == RULE_NAMES


def test_a_learning_rate_of_zero_changes_no_weight(tmp_path: Path) -> None:
    still = _train(tmp_path, [], learning_rate=0.0, steps=3)
    assert torch.equal(weights(still), weights(DecoderLM(SHAPE, seed=1)))
    with pytest.raises(ConfigError, match="requires a learning_rate above 0"):
        config(optimizer="schedule_free", schedule="constant", learning_rate=0.0)
