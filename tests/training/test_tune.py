"""Settings chosen by measuring: what is measured changes nothing, what is chosen is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from small_run import config, objective, weights

from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.store.events import EventLog
from tutelage.training import tune
from tutelage.training.distributed.world import World
from tutelage.training.loop import train
from tutelage.training.tune import Trial, choose, tuned


def test_the_fastest_over_the_whole_run_is_chosen_if_it_is_clearly_faster() -> None:
    asked = Trial(2, 1, False, seconds=1.0, first_seconds=1.0)
    hardly, faster = Trial(1, 1, False, 0.99, 1.0), Trial(1, 2, False, 0.8, 1.0)
    compiled = Trial(1, 2, True, 0.5, first_seconds=40.0)
    assert choose([asked, hardly], 100) == asked
    assert choose([asked, hardly, faster], 100) == faster
    assert choose([asked, faster, compiled], 100) == faster  # 40 s of compiling cost more than 100 steps save
    assert choose([asked, faster, compiled], 1000) == compiled


def test_measuring_leaves_model_and_random_numbers_alone(tiny: ModelConfig) -> None:
    model = DecoderLM(tiny)
    before, state = weights(model), torch.get_rng_state()
    trials = tune.measure(model, objective(), config(), 12, data_seed=1)
    assert trials[0].threads == 1 and trials[0].accumulation == 1  # what was asked for
    assert {trial.accumulation for trial in trials} == {1, 2}
    assert all(trial.seconds > 0 for trial in trials)
    assert torch.equal(weights(model), before) and torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_was_chosen_is_kept_for_the_resumed_run(
    tiny: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = [Trial(1, 1, False, 1.0, 1.0), Trial(1, 4, False, 0.1, 0.1)]
    monkeypatch.setattr(tune, "measure", lambda *_: chosen)
    events: list[dict[str, object]] = []
    log = EventLog(None, (events.append,))
    first = tuned(DecoderLM(tiny), objective(), config(tune=True), 12, 1, tmp_path, World(), log)
    assert first.accumulation == 4
    assert json.loads((tmp_path / "settings.json").read_text())["accumulation"] == 4
    assert any("times as fast" in str(event.get("message")) for event in events)
    monkeypatch.setattr(tune, "measure", lambda *_: pytest.fail("measured again"))
    assert tuned(DecoderLM(tiny), objective(), config(tune=True), 12, 1, tmp_path, World(), log) == first
    assert tuned(DecoderLM(tiny), objective(), config(), 12, 1, tmp_path, World(), log) == config()


def test_a_tuned_run_resumes_bit_for_bit(tiny: ModelConfig, tmp_path: Path, log: EventLog) -> None:
    """From its own settings: what another measurement would have chosen does not matter."""
    straight, again = DecoderLM(tiny), DecoderLM(tiny)
    train(straight, objective(), config(tune=True), tmp_path, log, 1)
    for path in (tmp_path / "checkpoints").glob("step-*"):
        if path.name != "step-00000004":
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
    train(again, objective(), config(tune=True), tmp_path, log, 1)
    assert torch.equal(weights(again), weights(straight))


def test_a_compiler_that_fails_is_no_failure(tiny: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "LONG_RUN", 0.0)

    def trial(model: DecoderLM, objective: object, settings: object, seed: int) -> Trial:
        if settings.compile:  # type: ignore[attr-defined]
            raise RuntimeError("no C++ compiler")
        return Trial(settings.threads, settings.accumulation, False, 1.0, 1.0)  # type: ignore[attr-defined]

    monkeypatch.setattr(tune, "trial", trial)
    assert not any(one.compile for one in tune.measure(DecoderLM(tiny), objective(), config(), 12, 1))
