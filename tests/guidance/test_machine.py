"""Rates are measured on the model that will run, kept for the next command, and measured again on a busy machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tutelage.guidance import machine as module
from tutelage.guidance import probe
from tutelage.guidance.footprint import Rise
from tutelage.guidance.machine import ThisMachine
from tutelage.model.config import ModelConfig
from tutelage.model.lora_config import LoraConfig
from tutelage.training.config import TrainingConfig

SMALL = ModelConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_layers=2, num_heads=4, num_kv_heads=2,
                    max_position_embeddings=128)  # fmt: skip
LENGTH = 48  # torch 2.13 fails in bfloat16 from 64 on where ATEN_CPU_CAPABILITY=default meets AMX
SETTINGS = TrainingConfig(batch_rows=4, precision="float32", threads=1)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was measured, each taking 0.5 s for each token, on a calm machine that remembers nothing."""
    calls: list[tuple[Any, ...]] = []

    def cost(*about: Any) -> probe.Cost:
        calls.append(about)
        return probe.Cost(0.5, 100.0, 10.0)

    monkeypatch.setattr(probe, "training_cost", cost)
    monkeypatch.setattr(probe, "scoring_cost", cost)
    monkeypatch.setattr(probe, "decoding_cost", cost)
    monkeypatch.setattr(module, "_MEASURED", {})
    monkeypatch.setattr(module, "load", lambda: 0.2)
    return calls


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if in another process."""
    monkeypatch.setattr(module, "_MEASURED", {})


def test_a_rate_is_measured_once_and_kept_under_the_root(
    tmp_path: Path, measured: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = ThisMachine(tmp_path)
    assert machine.training_seconds_per_token(SMALL, 64, SETTINGS) == 0.5
    assert machine.training_memory(SMALL, 64, SETTINGS) == 100 + 10
    assert machine.training_seconds_per_token(SMALL, 64, SETTINGS.model_copy(update={"learning_rate": 1.0})) == 0.5
    assert len(measured) == 1
    forget(monkeypatch)
    assert ThisMachine(tmp_path).training_seconds_per_token(SMALL, 64, SETTINGS) == 0.5 and len(measured) == 1


@pytest.mark.parametrize(
    "other",
    [
        (SMALL.model_copy(update={"num_layers": 3}), 64, SETTINGS, 1.0, None),
        (SMALL, 32, SETTINGS, 1.0, None),
        (SMALL, 64, SETTINGS.model_copy(update={"batch_rows": 8}), 1.0, None),
        (SMALL, 64, SETTINGS.model_copy(update={"optimizer": "muon"}), 1.0, None),
        (SMALL, 64, SETTINGS.model_copy(update={"precision": "bfloat16"}), 1.0, None),
        (SMALL, 64, SETTINGS, 0.3, None),
        (SMALL, 64, SETTINGS, 1.0, LoraConfig(rank=4)),
    ],
)
def test_another_model_or_setting_is_measured_on_its_own(
    tmp_path: Path, measured: list[Any], other: tuple[Any, ...]
) -> None:
    machine = ThisMachine(tmp_path)
    machine.training_seconds_per_token(SMALL, 64, SETTINGS)
    machine.training_seconds_per_token(*other)
    assert len(measured) == 2
    machine.scoring_seconds_per_token(SMALL)
    machine.decoding_seconds_per_token(SMALL)
    assert len(measured) == 4


def test_a_busy_machine_is_measured_again_and_what_it_gave_is_not_kept(
    tmp_path: Path, measured: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ThisMachine(tmp_path).scoring_seconds_per_token(SMALL)
    kept = (tmp_path / "work" / module.FILE).read_text()
    monkeypatch.setattr(module, "load", lambda: 3.0)
    forget(monkeypatch)
    ThisMachine(tmp_path).scoring_seconds_per_token(SMALL)
    ThisMachine(tmp_path).decoding_seconds_per_token(SMALL)
    assert len(measured) == 3
    assert (tmp_path / "work" / module.FILE).read_text() == kept


@pytest.mark.parametrize("damage", ["", "no json", "[1]", '{"a": 3}'])
def test_a_damaged_file_of_rates_is_no_obstacle(
    tmp_path: Path, measured: list[Any], monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / module.FILE).write_text(damage)
    assert ThisMachine(tmp_path).scoring_seconds_per_token(SMALL) == 0.5
    assert len(json.loads((tmp_path / "work" / module.FILE).read_text())) == 1


def test_old_rates_are_not_used(tmp_path: Path, measured: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    ThisMachine(tmp_path).scoring_seconds_per_token(SMALL)
    forget(monkeypatch)
    now = module.time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + module.KEPT_SECONDS + 1)
    ThisMachine(tmp_path).scoring_seconds_per_token(SMALL)
    assert len(measured) == 2


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_memory_is_what_these_steps_need(precision: str) -> None:
    settings = SETTINGS.model_copy(update={"precision": precision})
    cost = probe.training_cost(SMALL, LENGTH, settings, 1.0)
    from tutelage.model.decoder import DecoderLM

    parameters = DecoderLM(SMALL).num_parameters()
    # Weights, gradients, and AdamW's two states, all float32 (and a step counter for each tensor); and of all but the
    # gradients the copy that a checkpoint is written from.
    assert 28 * parameters <= cost.fixed < 28.4 * parameters
    assert cost.activations > 4 * LENGTH * 2 * SMALL.num_layers * SMALL.hidden_size * 4
    twice = probe.training_cost(SMALL, LENGTH, settings.model_copy(update={"batch_rows": 8}), 1.0)
    assert twice.activations == pytest.approx(2 * cost.activations, rel=0.25) and twice.fixed == cost.fixed
    parts = probe.training_cost(SMALL, LENGTH, settings.model_copy(update={"batch_rows": 8, "accumulation": 2}), 1.0)
    assert parts.activations == cost.activations
    assert cost.seconds > 0 and cost.memory > cost.fixed and cost.passing >= cost.activations


def test_adapters_and_frozen_blocks_need_less_and_checkpointing_keeps_less() -> None:
    whole = probe.training_cost(SMALL, 64, SETTINGS, 1.0)
    assert probe.training_cost(SMALL, 64, SETTINGS, 1.0, LoraConfig(rank=2)).fixed < 0.7 * whole.fixed
    frozen = SETTINGS.model_copy(update={"freeze_blocks": 1})
    assert probe.training_cost(SMALL, 64, frozen, 1.0).fixed < 0.9 * whole.fixed
    less = SETTINGS.model_copy(update={"activation_checkpointing": True})
    assert probe.training_cost(SMALL, 64, less, 1.0).activations < 0.6 * whole.activations


def test_more_rows_than_are_measured_take_as_much_more_but_logits_come_in_chunks() -> None:
    one, other, vocabulary = 1000, 4000, 50_000
    logits = probe.loss_bytes(one, vocabulary, torch.float32)
    assert logits == 4 * vocabulary * 256  # one chunk of 256 positions; a group holds no more of so large a vocabulary
    assert probe.loss_bytes(other, vocabulary, torch.bfloat16) == (2 + 4) * vocabulary * 256
    scaled = probe._scaled(logits + 5e6, one, other, vocabulary, 1.0, torch.float32)
    assert scaled == pytest.approx(logits + 4 * 5e6)
    assert probe._scaled(7e6, one, one, 512, 1.0, torch.float32) == pytest.approx(7e6)


def test_what_work_adds_to_the_process_is_measured() -> None:
    rise = Rise(torch.device("cpu"))
    if rise.bytes() is None:
        pytest.skip("this system does not count resident memory from a chosen moment on")
    held = torch.ones(20 * 2**20)  # 80 MiB, each page of them written
    risen = rise.bytes()
    assert risen is not None and 75 * 2**20 <= risen < 110 * 2**20 and held[-1] == 1
    del held
    assert Rise(torch.device("cpu")).bytes() < 40 * 2**20  # type: ignore[operator]  # given back before it begins
    assert Rise(torch.device("cuda")).bytes() is None


def test_what_does_not_fit_is_measured_on_fewer_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "available_memory", lambda: 1e12)
    assert probe.measurable(SMALL) == (SMALL, 1.0)
    deep = SMALL.model_copy(update={"num_layers": 64})
    from tutelage.model.describe import forward_flops, parameters

    monkeypatch.setattr(probe, "available_memory", lambda: 2 * 16.0 * sum(parameters(SMALL).values()))
    cut, times = probe.measurable(deep)
    assert cut == SMALL and times == forward_flops(deep, 128) / forward_flops(SMALL, 128) > 10


def test_a_short_row_is_measured_where_a_whole_one_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "STEP_FLOPS", 1.0)
    batch = probe._random_batch(SMALL, 128, 8, 0.0)
    assert batch.tokens.shape == (1, probe.FEWEST_TOKENS)
    assert torch.all(batch.weights[:, -1] == 1) and batch.weights.sum() == 1
    monkeypatch.setattr(probe, "STEP_FLOPS", 1e12)
    batch = probe._random_batch(SMALL, 128, 8, 0.5)
    assert batch.tokens.shape == (8, 128)
    # Packed rows: documents that do not see each other, positions that begin again in each.
    assert batch.documents[0, [0, 63, 64, 127]].tolist() == [1, 1, 2, 2]
    assert batch.positions[0, [0, 63, 64, 127]].tolist() == [0, 63, 0, 63]


def test_a_disk_that_cannot_be_written_to_is_no_obstacle(monkeypatch: pytest.MonkeyPatch):
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    module._disk.cache_clear()
    monkeypatch.setattr(Path, "write_bytes", full)
    assert ThisMachine(None).bytes_per_second() == module.USUAL_DISK
    module._disk.cache_clear()
