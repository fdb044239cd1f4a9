"""The loop: learning, exact accumulation, bit-exact resume after any stop, damaged checkpoints, bad steps."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from small_run import config, objective, weights

from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.pretraining.objective import NextToken
from tutelage.store.errors import ConfigError, DamagedError, Interrupted, TrainingError
from tutelage.store.events import EventLog
from tutelage.training.checkpoint.reader import verify
from tutelage.training.data.batch import Batch
from tutelage.training.figures import evaluate_objective
from tutelage.training.loop import train
from tutelage.training.objective import Loss
from tutelage.training.optim.schedules import learning_rate


class StopAfter(NextToken):
    """Raises in the middle of a run, as a kill would."""

    def __init__(self, inner: NextToken, calls: int, action: Callable[[], None]) -> None:
        super().__init__(inner.rows, inner.token_bytes, inner.eos_id)
        self.calls, self.action = calls, action

    def loss(self, model: DecoderLM, batch: Batch) -> Loss:
        self.calls -= 1
        if self.calls == 0:
            self.action()
        return super().loss(model, batch)


def crash() -> None:
    raise RuntimeError("killed")


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "soap", "schedule_free"])
def test_it_learns(tiny: ModelConfig, tmp_path: Path, log: EventLog, optimizer: str) -> None:
    settings = config(steps=60, optimizer=optimizer, schedule="constant")
    result = train(DecoderLM(tiny), objective(), settings, tmp_path, log, 1, first_loss=math.log(64))
    losses = [point["loss"] for point in result.curve if "loss" in point]
    assert losses[0] == pytest.approx(math.log(64), rel=0.03)
    assert losses[-1] < 0.7 * losses[0]
    assert result.final["loss"] < 0.8 * losses[0]
    assert result.tokens > 0


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_embedding_may_learn_faster(tiny: ModelConfig, tmp_path: Path, log: EventLog, optimizer: str) -> None:
    """AdamW's first step is its learning rate in every direction, whatever the gradient."""
    moved = {}
    for factor in (1.0, 6.0):
        model, fresh = DecoderLM(tiny, seed=1), DecoderLM(tiny, seed=1)
        settings = config(steps=1, optimizer=optimizer, warmup_steps=0, embedding_rate=factor, weight_decay=0.0)
        train(model, objective(), settings, tmp_path / str(factor), log, 1)
        moved[factor] = {
            name: float((value - fresh.state_dict()[name]).abs().max()) for name, value in model.state_dict().items()
        }
    assert moved[6.0]["embed_tokens.weight"] == pytest.approx(6 * moved[1.0]["embed_tokens.weight"], rel=1e-3)
    assert all(moved[6.0][name] == moved[1.0][name] for name in moved[1.0] if name != "embed_tokens.weight")


@pytest.mark.parametrize("accumulation", [2, 4])
def test_microbatches_add_up_to_the_batch(tiny: ModelConfig, tmp_path: Path, log: EventLog, accumulation: int) -> None:
    whole, microbatched = DecoderLM(tiny), DecoderLM(tiny)
    one = train(whole, objective(), config(steps=3), tmp_path / "1", log, 1)
    two = train(microbatched, objective(), config(steps=3, accumulation=accumulation), tmp_path / "2", log, 1)
    assert torch.allclose(weights(whole), weights(microbatched), atol=2e-5)
    assert one.final["loss"] == pytest.approx(two.final["loss"], abs=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        *({"optimizer": name} for name in ("adamw", "muon", "lion", "soap")),
        {"optimizer": "schedule_free", "schedule": "constant"},
        {"use_best": True, "validate_every": 2, "learning_rate": 0.3},  # so high that the last weights are not the best
        {"average": "ema"},
        {"activation_checkpointing": True, "base_width": 16, "layers_every": 2},
    ],
    ids=lambda changes: "-".join(str(value) for value in changes.values()),
)
@pytest.mark.parametrize("calls", [2, 5, 6, 11])
def test_a_killed_run_resumes_bit_for_bit(
    tiny: ModelConfig, tmp_path: Path, log: EventLog, changes: dict[str, object], calls: int
) -> None:
    if "base_width" in changes:
        tiny = tiny.model_copy(update={"tie_word_embeddings": False})
    settings = config(checkpoint_seconds=0, **changes)
    straight, broken = DecoderLM(tiny), DecoderLM(tiny)
    expected = train(straight, objective(), settings, tmp_path / "straight", log, 1)
    with pytest.raises(RuntimeError):
        train(broken, StopAfter(objective(), calls, crash), settings, tmp_path / "broken", log, 1)
    again = DecoderLM(tiny, seed=99)  # what it starts from must not matter: the checkpoint decides
    result = train(again, objective(), settings, tmp_path / "broken", log, 1)
    assert torch.equal(weights(again), weights(straight))
    assert result.curve == expected.curve and result.tokens == expected.tokens
    assert result.best == expected.best


def test_a_signal_ends_the_step_saves_and_says_how_to_resume(tiny: ModelConfig, tmp_path: Path, log: EventLog) -> None:
    stopping = StopAfter(objective(), 5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted, match="step 4 of 12"):
        train(DecoderLM(tiny), stopping, config(validate_every=3), tmp_path / "a", log, 1)
    again, straight = DecoderLM(tiny), DecoderLM(tiny)
    train(again, objective(), config(validate_every=3), tmp_path / "a", log, 1)
    train(straight, objective(), config(validate_every=3), tmp_path / "b", log, 1)
    assert torch.equal(weights(again), weights(straight))


@pytest.mark.parametrize("name", ["rank-00000.safetensors", "rank-00000.json", "state.json", "manifest.json"])
def test_a_flipped_byte_is_found_and_the_checkpoint_before_used(tiny: ModelConfig, tmp_path: Path, name: str) -> None:
    seen: list[dict[str, object]] = []
    log = EventLog(listeners=(seen.append,))
    settings = config(checkpoint_seconds=0)
    with pytest.raises(RuntimeError):
        train(DecoderLM(tiny), StopAfter(objective(), 8, crash), settings, tmp_path / "a", log, 1)
    newest = sorted((tmp_path / "a" / "checkpoints").glob("step-*"))[-1]
    content = bytearray((newest / name).read_bytes())
    content[len(content) // 2] ^= 1
    (newest / name).write_bytes(content)
    with pytest.raises(DamagedError):
        verify(newest)
    again, straight = DecoderLM(tiny), DecoderLM(tiny)
    train(again, objective(), settings, tmp_path / "a", log, 1)
    train(straight, objective(), settings, tmp_path / "b", log, 1)
    assert torch.equal(weights(again), weights(straight))
    assert any(event["event"] == "warning" and newest.name in str(event["message"]) for event in seen)


def test_checkpoints_of_another_run_are_refused(tiny: ModelConfig, tmp_path: Path, log: EventLog) -> None:
    with pytest.raises(RuntimeError):
        train(DecoderLM(tiny), StopAfter(objective(), 4, crash), config(checkpoint_seconds=0), tmp_path, log, 1)
    with pytest.raises(ConfigError, match="other data or settings"):
        train(DecoderLM(tiny), objective(), config(checkpoint_seconds=0, learning_rate=1e-4), tmp_path, log, 1)


def test_the_order_of_the_data_has_a_seed_of_its_own(tiny: ModelConfig, tmp_path: Path, log: EventLog) -> None:
    """Without dropout nothing but the data's order is drawn, so the training seed alone changes nothing."""

    def curve(name: str, **seeds: int) -> list[dict[str, object]]:
        return train(DecoderLM(tiny), objective(), config(), tmp_path / name, log, **seeds).curve

    one = curve("one", seed=1)
    assert curve("same", seed=1, data_seed=1) == one
    assert curve("training", seed=2, data_seed=1) == one
    assert curve("data", seed=1, data_seed=2) != one
    for seeds in ({"seed": 2, "data_seed": 1}, {"seed": 1, "data_seed": 2}):  # both tell one run from another
        with pytest.raises(ConfigError, match="other data or settings"):
            curve("one", **seeds)


def test_only_the_last_checkpoints_are_kept(tiny: ModelConfig, tmp_path: Path, log: EventLog) -> None:
    settings = config(checkpoint_seconds=0, keep_checkpoints=2, validate_every=0)
    train(DecoderLM(tiny), objective(), settings, tmp_path, log, 1)
    assert [path.name for path in sorted((tmp_path / "checkpoints").glob("step-*"))] == [
        "step-00000011", "step-00000012"]  # fmt: skip
    assert (tmp_path / "checkpoints" / "latest").read_text() == "step-00000012\n"


class Poisoned(NextToken):
    """A loss that is not finite for chosen rows."""

    def loss(self, model: DecoderLM, batch: Batch) -> Loss:
        loss = super().loss(model, batch)
        bad = bool((batch.tokens[:, 1] == int(self.rows["train"].tokens[0, 1])).any()) and model.training
        return Loss(loss.sum * math.nan, loss.weight, loss.metrics) if bad else loss


def test_a_bad_batch_is_skipped_and_named(tiny: ModelConfig, tmp_path: Path) -> None:
    seen: list[dict[str, object]] = []
    inner = objective()
    model = DecoderLM(tiny)
    result = train(
        model, Poisoned(inner.rows, inner.token_bytes, 0), config(batch_rows=1, steps=30), tmp_path,
        EventLog(listeners=(seen.append,)), 1,
    )  # fmt: skip
    assert 0 < len(result.skipped) < 30
    assert torch.isfinite(weights(model)).all()
    assert sum("not finite" in str(event.get("message")) for event in seen) == len(result.skipped)


def test_a_loss_that_stays_bad_and_a_wrong_first_loss_are_errors(
    tiny: ModelConfig, tmp_path: Path, log: EventLog
) -> None:
    with torch.no_grad():
        broken = DecoderLM(tiny)
        broken.norm.weight.fill_(math.nan)
    with pytest.raises(TrainingError, match="consecutive steps"):
        train(broken, objective(), config(), tmp_path / "a", log, 1)
    with pytest.raises(TrainingError, match="before the first update"):
        train(DecoderLM(tiny), objective(), config(), tmp_path / "b", log, 1, first_loss=9.0)


def test_bfloat16_trains_too(tiny: ModelConfig, tmp_path: Path, log: EventLog) -> None:
    result = train(DecoderLM(tiny), objective(), config(steps=30, precision="bfloat16"), tmp_path, log, 1)
    assert result.final["loss"] < math.log(64)


def test_frozen_blocks_stay(tiny: ModelConfig, tmp_path: Path, log: EventLog) -> None:
    model = DecoderLM(tiny)
    before = model.layers[0].mlp.up_proj.weight.clone()
    last = model.layers[1].mlp.up_proj.weight.clone()
    train(model, objective(), config(freeze_blocks=1), tmp_path, log, 1)
    assert torch.equal(model.layers[0].mlp.up_proj.weight, before)
    assert not torch.equal(model.layers[1].mlp.up_proj.weight, last)


def test_bits_per_byte_counts_text_only(tiny: ModelConfig) -> None:
    uniform = DecoderLM(tiny)
    with torch.no_grad():
        uniform.embed_tokens.weight.zero_()
    figures = evaluate_objective(uniform, objective(), "train")
    assert figures["loss"] == pytest.approx(math.log(64), rel=1e-5)
    assert figures["bits_per_byte"] == pytest.approx(6.0, rel=1e-5)  # log2(64) bits for tokens of one byte


@pytest.mark.parametrize("schedule", ["cosine", "wsd", "linear", "constant"])
def test_schedules_warm_up_and_end_where_they_should(schedule: str) -> None:
    settings = config(schedule=schedule, warmup_steps=10, final_fraction=0.1, learning_rate=1.0)
    rates = [learning_rate(settings, step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(1 / 11) and max(rates) == pytest.approx(1.0)
    assert rates[100] == pytest.approx(1.0 if schedule == "constant" else 0.1)
    assert all(one >= two - 1e-12 for one, two in pairwise(rates[10:]))


def test_state_is_plain_json(tiny: ModelConfig, tmp_path: Path, log: EventLog) -> None:
    train(DecoderLM(tiny), objective(), config(), tmp_path, log, 1)
    state = json.loads((tmp_path / "checkpoints" / "step-00000012" / "state.json").read_text())
    assert state["sample"] == 48 and state["step"] == 12


def test_the_best_checkpoint_is_kept_and_can_be_what_is_left(tiny: ModelConfig, tmp_path: Path, log: EventLog) -> None:
    settings = config(steps=14, learning_rate=0.6, schedule="constant", validate_every=2, validation_rows=0)
    last, best = DecoderLM(tiny), DecoderLM(tiny)
    first = train(last, objective(), settings, tmp_path / "last", log, 1)
    validations = {point["step"]: point["validation"]["loss"] for point in first.curve[:-1] if "validation" in point}
    lowest = min(validations, key=validations.__getitem__)
    assert first.best == {"step": lowest, "loss": validations[lowest]}
    assert first.final["loss"] > validations[lowest]
    assert (tmp_path / "last" / "checkpoints" / f"step-{lowest:08d}" / "best").exists()
    result = train(best, objective(), settings.model_copy(update={"use_best": True}), tmp_path / "best", log, 1)
    assert result.final["loss"] == pytest.approx(validations[lowest], abs=1e-6)


def test_a_damaged_best_checkpoint_is_said_and_the_last_weights_kept(tiny: ModelConfig, tmp_path: Path) -> None:
    events: list[dict[str, object]] = []
    settings = config(steps=14, learning_rate=0.6, schedule="constant", validate_every=2, use_best=True)
    first = train(DecoderLM(tiny), objective(), settings, tmp_path, EventLog(), 1)
    file = tmp_path / "checkpoints" / f"step-{int(first.best['step']):08d}" / "rank-00000.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    train(DecoderLM(tiny), objective(), settings, tmp_path, EventLog(None, (events.append,)), 1)
    assert any("last weights are kept" in str(event.get("message")) for event in events)


def test_every_block_is_looked_into(tiny: ModelConfig, tmp_path: Path) -> None:
    events: list[dict[str, object]] = []
    model, settings = DecoderLM(tiny), config(layers_every=4, weight_decay=0.0)
    with torch.no_grad():
        model.layers[1].mlp.down_proj.weight.mul_(50)
    train(model, objective(), settings, tmp_path / "a", EventLog(None, (events.append,)), 1)
    looks = [event for event in events if event["event"] == "layers"]
    assert [look["step"] for look in looks] == [4, 8, 12]
    for look in looks:
        for name in ("weight_rms", "grad_rms", "update_ratio", "activation_rms"):
            figures = look[name]
            assert isinstance(figures, list) and len(figures) == 2 and all(0 < figure < 100 for figure in figures)
        assert look["activation_rms"][1] > 2 * look["activation_rms"][0]  # type: ignore[index]
    straight, other = DecoderLM(tiny), DecoderLM(tiny)
    train(straight, objective(), config(layers_every=0), tmp_path / "b", EventLog(), 1)
    train(other, objective(), config(layers_every=1), tmp_path / "c", EventLog(), 1)
    assert torch.equal(weights(straight), weights(other))  # to look changes nothing


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"optimizer": "schedule_free"}, "schedule: constant"),
        ({"optimizer": "schedule_free", "schedule": "constant", "beta1": 0}, "beta1"),
        ({"optimizer": "soap", "base_width": 64}, "not soap"),
        ({"use_best": True, "validate_every": 0}, "validate_every"),
        ({"use_best": True, "average": "ema"}, "exclude each other"),
    ],
)
def test_values_that_contradict_each_other_are_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config(**changes)


def test_a_damaged_marked_checkpoint_is_written_again(tiny: ModelConfig, tmp_path: Path) -> None:
    """What is there and what is marked is looked up after the damaged one was moved aside; also the second time."""
    straight, model = DecoderLM(tiny), DecoderLM(tiny)
    train(straight, objective(), config(), tmp_path / "straight", EventLog(), 1)
    for calls in (14, 8):
        with pytest.raises(RuntimeError, match="killed"):
            train(DecoderLM(tiny), StopAfter(objective(), calls, crash), config(), tmp_path / "work", EventLog(), 1)
        newest = tmp_path / "work/checkpoints/step-00000008"
        assert (newest / "best").exists(), "the premise: it is marked"
        (newest / "state.json").write_text("{}")
    train(model, objective(), config(), tmp_path / "work", EventLog(), 1)
    assert torch.equal(weights(model), weights(straight))
    assert len(list((tmp_path / "work/checkpoints").glob("damaged-step-00000008*"))) == 2


def test_the_last_weights_are_kept_where_they_are_the_best(tiny: ModelConfig, tmp_path: Path, log: EventLog) -> None:
    settings = config(steps=24, validate_every=10)
    plain = train(DecoderLM(tiny), objective(), settings, tmp_path / "plain", log, 1)
    assert plain.final["loss"] < plain.best["loss"], "the premise: it still improves"
    settings = config(steps=24, validate_every=10, use_best=True)
    best = train(DecoderLM(tiny), objective(), settings, tmp_path / "best", log, 1)
    assert best.final == plain.final and best.best["step"] == 24


def test_a_signal_in_the_last_validation_is_heard(tiny: ModelConfig, tmp_path: Path, log: EventLog) -> None:
    stopping = StopAfter(objective(), 13, lambda: os.kill(os.getpid(), signal.SIGTERM))  # after 12 steps
    with pytest.raises(Interrupted, match="step 12 of 12"):
        train(DecoderLM(tiny), stopping, config(validate_every=0), tmp_path, log, 1)
    again = train(DecoderLM(tiny), objective(), config(validate_every=0), tmp_path, log, 1)
    assert again.final["loss"] > 0


def test_experts_forget_a_step_that_was_not_taken(tiny: ModelConfig, tmp_path: Path, log: EventLog) -> None:
    """Their loads are in no checkpoint: killed right after a skipped step, the run ends in the same bits."""
    experts = {"num_experts": 8, "experts_per_token": 2, "intermediate_size": 24, "balance": "bias"}
    shape = FamilyConfig.parse({**tiny.plain(), "family": "custom", "experts": {**experts, "balance_rate": 0.05}})
    settings = config(batch_rows=1, steps=30, checkpoint_seconds=0, validate_every=0)
    first = int(objective().rows["train"].tokens[0, 1])

    class Poison(StopAfter):
        def loss(self, model: DecoderLM, batch: Batch) -> Loss:
            loss = super().loss(model, batch)
            bad = model.training and bool((batch.tokens[:, 1] == first).any())
            return Loss(loss.sum * math.nan, loss.weight, loss.metrics) if bad else loss

    straight = DecoderLM(shape)
    skipped = train(straight, Poison(objective(), -1, crash), settings, tmp_path / "straight", log, 1).skipped
    assert skipped, "the premise: a step is skipped"
    with pytest.raises(RuntimeError, match="killed"):
        train(DecoderLM(shape), Poison(objective(), skipped[0] + 2, crash), settings, tmp_path / "work", log, 1)
    model = DecoderLM(shape)
    train(model, Poison(objective(), -1, crash), settings, tmp_path / "work", log, 1)
    assert torch.equal(weights(model), weights(straight))
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), straight.buffers(), strict=True))
