"""Spikes: what is skipped, when training rolls back, and that a resumed run decides alike."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.pretraining.objective import NextToken, pack_documents
from tutelage.store.errors import TrainingError
from tutelage.store.events import EventLog
from tutelage.training.config import TrainingConfig
from tutelage.training.data.batch import Batch
from tutelage.training.loop import TrainResult, train
from tutelage.training.objective import Loss
from tutelage.training.watch import Watch, threshold


def noisy(count: int, seed: int = 0) -> list[float]:
    generator = torch.Generator().manual_seed(seed)
    return (3 - torch.arange(count) * 0.002 + 0.05 * torch.randn(count, generator=generator)).tolist()


def test_the_threshold_is_the_median_and_its_robust_deviation() -> None:
    values = [float(number) for number in range(1, 42)]  # median 21, MAD 10
    assert threshold(values, 6) == pytest.approx(21 + 6 * 1.4826 * 10)
    assert threshold([1e9, *values[1:]], 6) == pytest.approx(threshold(values, 6), rel=0.05)  # an outlier
    assert threshold(values[:31], 6) == math.inf and threshold(values, 0) == math.inf
    assert threshold([2.0] * 50, 6) == pytest.approx(2.0 + 6 * 0.002 * 2.0)


def test_noise_and_a_falling_loss_are_no_spikes() -> None:
    watch = Watch(6.0, 10)
    assert {watch.judge(loss, 0.5) for loss in noisy(1000)} == {"go"}


def test_one_spike_is_skipped_and_what_stays_rolls_back() -> None:
    watch = Watch(6.0, 4)
    for loss in noisy(100):
        watch.judge(loss, 0.5)
    assert watch.judge(6.0, 0.5) == "skip" and "loss 6.000" in watch.why
    assert watch.judge(2.8, 0.5) == "go"
    assert watch.judge(2.8, 50.0) == "skip" and "gradient norm" in watch.why
    assert watch.judge(2.8, 0.5) == "go"
    assert [watch.judge(6.0, 0.5) for _ in range(4)] == ["skip", "skip", "skip", "roll back"]
    again = Watch(6.0, 4)
    again.load(json.loads(json.dumps(watch.state())))
    assert again == watch


def test_what_is_not_finite_is_skipped_five_times_at_most() -> None:
    watch = Watch(0.0, 10)
    assert [watch.judge(math.nan, 1.0), watch.judge(1.0, math.inf), watch.judge(1.0, 1.0)] == ["skip", "skip", "go"]
    for _ in range(4):
        watch.judge(math.nan, 1.0)
    with pytest.raises(TrainingError, match="5 consecutive steps"):
        watch.judge(math.nan, 1.0)


class Spoilt(NextToken):
    """Spoils the model's weights when the rows of a chosen step come up: the loss jumps and stays."""

    first: int = -1  # a token of the row that does it
    deaths: int = -1  # the training loss, counted over all, in which the process ends

    def loss(self, model: DecoderLM, batch: Batch) -> Loss:
        if model.training:
            self.deaths -= 1
            if self.deaths == 0:
                raise RuntimeError("killed")
            if bool((batch.tokens[:, 1] == self.first).any()):
                with torch.no_grad():
                    model.lm_head.weight.mul_(40)
        return super().loss(model, batch)

    def describe(self, numbers: Any) -> str:
        return f"texts of {len(numbers)} rows"


def objective(spoilt: bool) -> Spoilt:
    documents = [[4 + (3 * start + 5 * at) % 57 for at in range(30)] for start in range(240)]
    documents[130] = [62, *documents[130][1:]]
    rows = {"train": pack_documents(documents, 0, 31), "validation": pack_documents(documents[:8], 0, 31)}
    made = Spoilt(rows, torch.ones(64, dtype=torch.int64), 0)
    made.first = 62 if spoilt else -1
    return made


Trained = tuple[TrainResult, torch.Tensor, list[dict[str, Any]]]


def run(work: Path, deaths: int = -1, spoilt: bool = True, **changes: Any) -> Trained:
    shape = FamilyConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_layers=1, num_heads=4, num_kv_heads=2,
                        max_position_embeddings=64, tie_word_embeddings=False)  # fmt: skip
    config = TrainingConfig.parse(
        {"steps": 100, "batch_rows": 2, "learning_rate": 3e-3, "warmup_steps": 2, "log_every": 1, "threads": 1,
         "precision": "float32", "checkpoint_seconds": 1e9, "spike_sigma": 6.0, "spike_patience": 5,
         "rollback_every": 10, **changes}
    )  # fmt: skip
    heard: list[dict[str, Any]] = []
    log = EventLog(listeners=(heard.append,))
    made, model = objective(spoilt), DecoderLM(shape, seed=1)
    made.deaths = deaths
    result = train(model, made, config, work, log, 1)
    return result, torch.cat([value.flatten() for value in model.state_dict().values()]), heard


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A spoilt run that nothing else disturbs."""
    return run(tmp_path_factory.mktemp("straight"))


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The same run with nothing to spoil it."""
    return run(tmp_path_factory.mktemp("calm"), spoilt=False)


def test_a_spoilt_run_rolls_back_skips_the_rows_and_says_which(straight: Trained, calm: Trained) -> None:
    result, _, heard = straight
    (rollback,) = result.rollbacks
    assert rollback["to"] % 10 == 0 and 5 <= rollback["from"] - rollback["to"] < 20
    skipped = [event for event in heard if "the update is skipped" in str(event.get("message"))]
    assert [event["step"] for event in skipped] == list(
        range(rollback["from"] - len(skipped) + 1, rollback["from"] + 1)
    )
    for event in skipped:  # one short line for the terminal, the rows and texts for who reads the file
        assert len(str(event["message"])) < 160 and "(2 rows" in str(event["message"])
        assert event["texts"] == "texts of 2 rows" and "texts of" not in str(event["message"])
        assert len(event["rows"]) == 2 and all(0 <= row < 240 for row in event["rows"])
    assert 130 in {row for event in skipped for row in event["rows"]}  # the row that did it
    assert any("rolled back to step" in str(event.get("message")) for event in heard)
    assert result.final["loss"] < 3.0 < math.log(64)
    assert not calm[0].rollbacks and result.final["loss"] == pytest.approx(calm[0].final["loss"], abs=0.4)


@pytest.mark.parametrize("seconds", [0, 1e9])
@pytest.mark.parametrize("at", ["before", "in the trouble", "after"])
def test_a_run_killed_around_a_rollback_ends_bit_for_bit_the_same(
    at: str, seconds: float, straight: Trained, tmp_path: Path
) -> None:
    undisturbed, weights, _ = straight
    back = undisturbed.rollbacks[0]
    calls = {"before": back["from"] - 8, "in the trouble": back["from"] - 1, "after": back["from"] + 9}[at]
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path / "killed", deaths=calls, checkpoint_seconds=seconds)
    result, own, _ = run(tmp_path / "killed", checkpoint_seconds=seconds)
    assert torch.equal(own, weights) and result.curve == undisturbed.curve and result.rollbacks == undisturbed.rollbacks


def test_steps_that_are_not_finite_between_spikes_belong_to_the_same_trouble(
    straight: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back, original = straight[0].rollbacks[0], Spoilt.loss

    def loss(self: Spoilt, model: DecoderLM, batch: Batch) -> Loss:
        found = original(self, model, batch)
        bad = model.training and back["from"] - 3 <= -1 - self.deaths < back["from"] + 1
        return Loss(found.sum * math.nan, found.weight, found.metrics) if bad else found

    monkeypatch.setattr(Spoilt, "loss", loss)
    (other,) = run(tmp_path / "mixed")[0].rollbacks
    assert other["to"] == back["to"] and other["from"] == back["from"] + 4


def test_a_damaged_checkpoint_to_roll_back_to_is_skipped(
    straight: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = straight[0].rollbacks[0]

    def describe(self: Spoilt, numbers: Any) -> str:  # asked for the first bad step
        state = tmp_path / f"work/checkpoints/step-{back['to']:08d}/state.json"
        while not state.exists():  # it is written beside the training
            time.sleep(0.01)
        state.write_text("{}")
        return ""

    monkeypatch.setattr(Spoilt, "describe", describe)
    result, _, heard = run(tmp_path / "work")
    assert result.rollbacks[0]["to"] == back["to"] - 10
    assert any("rolling back further" in str(event.get("message")) for event in heard)
    assert result.final["loss"] < 3.0


def test_a_run_that_spoils_itself_again_and_again_ends_with_advice(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="after 0 rollbacks"):
        run(tmp_path, max_rollbacks=0)


@pytest.mark.parametrize("average", ["ema", "tail"])
def test_averaged_weights_are_what_a_run_ends_with(average: str, calm: Trained, tmp_path: Path) -> None:
    plain, last, _ = calm
    result, mean, _ = run(tmp_path / "mean", spoilt=False, average=average, average_decay=0.9)
    assert [point["loss"] for point in result.curve if "loss" in point] == [
        point["loss"] for point in plain.curve if "loss" in point]  # fmt: skip
    assert not torch.equal(mean, last) and torch.allclose(mean, last, atol=0.2)
    with pytest.raises(RuntimeError):
        run(tmp_path / "killed", deaths=90, spoilt=False, average=average, average_decay=0.9, checkpoint_seconds=0)
    again = run(tmp_path / "killed", spoilt=False, average=average, average_decay=0.9, checkpoint_seconds=0)
    assert torch.equal(again[1], mean)


def test_a_tail_average_is_the_mean_of_the_last_weights(tmp_path: Path) -> None:
    """Against the mean of runs that differ only in how many steps they take."""
    weights = []
    for steps in range(9, 13):
        weights.append(run(tmp_path / str(steps), spoilt=False, steps=steps, schedule="constant", warmup_steps=0)[1])
    mean = run(tmp_path / "mean", spoilt=False, steps=12, schedule="constant", warmup_steps=0, average="tail",
               average_from=8 / 12)[1]  # fmt: skip
    assert torch.allclose(mean, torch.stack(weights).mean(0), atol=1e-6)
