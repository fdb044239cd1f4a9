"""A head fitted on a frozen model: exact mathematics, the choice of the layer, and an ordinary model directory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tutelage.finetuning.classify import frozen, linear
from tutelage.finetuning.classify.config import ClassifyConfig
from tutelage.finetuning.classify.stage import classify
from tutelage.finetuning.data import read_rows
from tutelage.inference.language_model import load
from tutelage.model.io import load_model
from tutelage.store.errors import ConfigError
from tutelage.store.events import EventLog

from .conftest import job, quick

FROZEN = ClassifyConfig(
    task="labels", min_per_label=10, min_heldout=2, max_tokens=32, context_length=128, frozen=True, training=quick(1)
)


@pytest.fixture(scope="module")
def made(tmp_path_factory, corpus, base):
    out = tmp_path_factory.mktemp("frozen")
    return out / "out", classify(job(FROZEN, out, corpus=corpus, model=base))


def drawn(rows: int, size: int, labels: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """States that tell the labels apart but for noise, each dimension with a size of its own."""
    rng = np.random.default_rng(seed)
    target = np.arange(rows) % labels
    centres = rng.normal(size=(labels, size))
    return ((centres[target] + rng.normal(size=(rows, size))) * rng.uniform(0.1, 10, size)).astype(np.float32), target


def one_hot(target: np.ndarray, labels: int) -> np.ndarray:
    return np.eye(labels, dtype=np.float32)[target]


def test_the_head_is_what_the_fit_says_and_the_rest_is_the_model_as_it_was(made, base, corpus):
    out, metrics = made
    model, before = load_model(out), load_model(base).state_dict()
    assert model.config.num_layers == metrics["layers"] <= load_model(base).config.num_layers
    for name, value in model.state_dict().items():
        if name != "score.weight" and not name.startswith("norm."):
            assert torch.equal(value, before[name]), name
    assert (model.norm.weight == 1).all()
    heldout = read_rows(out / "data" / "heldout.jsonl")
    scores = load(out).classify([row["text"] for row in heldout])
    right = np.mean([max(score, key=score.get) == row["label"] for score, row in zip(scores, heldout, strict=True)])
    assert right == pytest.approx(metrics["heldout_accuracy"]) and right > metrics["heldout_majority"] + 0.2


def test_the_same_seed_gives_the_same_bytes(made, corpus, base, tmp_path):
    classify(job(FROZEN, tmp_path, corpus=corpus, model=base))
    name = "model.safetensors"
    assert (tmp_path / "out" / name).read_bytes() == (made[0] / name).read_bytes()


@pytest.mark.parametrize("labels", [2, 3])
def test_the_weights_are_those_of_logistic_regression(labels):
    from sklearn.linear_model import LogisticRegression

    states, target = drawn(90, 12, labels)
    weight = np.where(target == 0, 2.0, 1.0)
    weights = linear.logistic(linear.Rotated.of(states), one_hot(target, labels), weight, 0.1, "softmax")
    spread = states.std(axis=0)
    # Of two labels scikit-learn has one row of weights; two rows of half the size are half as much to penalise.
    strength = 0.2 if labels == 2 else 0.1
    theirs = LogisticRegression(C=strength, fit_intercept=False, max_iter=5000, tol=1e-8)
    theirs.fit(states / spread, target, sample_weight=weight)
    ours = torch.from_numpy(states @ weights.T).softmax(-1).numpy()
    np.testing.assert_allclose(ours, theirs.predict_proba(states / spread), atol=5e-3)


def test_by_sigmoid_each_label_is_a_logistic_regression_of_its_own():
    from sklearn.linear_model import LogisticRegression

    states, target = drawn(90, 12, 3)
    wanted = one_hot(target, 3)
    wanted[::4, 0] = 1  # several labels a text, or none
    wanted[1::9] = 0
    weights = linear.logistic(linear.Rotated.of(states), wanted, np.ones(90), 0.1, "sigmoid")
    spread = states.std(axis=0)
    for label in range(3):
        theirs = LogisticRegression(C=0.1, fit_intercept=False, max_iter=5000, tol=1e-8)
        theirs.fit(states / spread, wanted[:, label])
        ours = 1 / (1 + np.exp(-states @ weights[label]))
        np.testing.assert_allclose(ours, theirs.predict_proba(states / spread)[:, 1], atol=5e-3)


def test_by_sigmoid_a_label_that_no_row_has_is_unlikely():
    states = np.abs(drawn(60, 5, 2)[0])
    wanted = np.zeros((60, 2), np.float32)
    weights = linear.logistic(linear.Rotated.of(states), wanted, np.ones(60), 1.0, "sigmoid")
    assert (states @ weights.T < 0).all()


def test_a_label_without_rows_is_as_likely_as_nothing_known_says():
    states, target = drawn(40, 5, 2)
    assert not linear.logistic(linear.Rotated.of(states), one_hot(target, 3), np.ones(40), 0.1, "softmax")[2].any()
    alone = one_hot(np.zeros(40, int), 2)
    assert not linear.logistic(linear.Rotated.of(states), alone, np.ones(40), 0.1, "softmax").any()


def test_what_is_left_out_is_predicted_by_the_others_alone(monkeypatch):
    """The closed form against leaving out one row after another."""
    monkeypatch.setattr(linear, "PENALTIES", (20.0,))
    states, target = drawn(36, 6, 3, seed=3)
    scaled, wanted = (states / linear._spread(states)).astype(float), np.eye(3)[target]
    mean, right = wanted.mean(axis=0), 0
    for row in range(36):
        rest = np.arange(36) != row
        x, y = scaled[rest], wanted[rest] - mean
        found = np.linalg.solve(x.T @ x + 20.0 * np.eye(6), x.T @ y)
        right += (scaled[row] @ found + mean).argmax() == target[row]
    assert 12 < right < 36
    assert linear.left_out_score(states, one_hot(target, 3), "softmax") == pytest.approx(right / 36)


def test_the_layer_that_tells_the_labels_apart_is_chosen(base, monkeypatch):
    model = load_model(base)
    states, target = drawn(60, 32, 3)
    noise = np.random.default_rng(1).normal(size=states.shape).astype(np.float32)
    ids = [[1, 2, 3]] * 60
    for best in (1, 2):
        found = {1: noise, 2: noise, best: states}
        monkeypatch.setattr(frozen, "last_states", lambda *_, found=found: dict(found))
        assert frozen.fit_head(model, ids, one_hot(target, 3), [1.0] * 60, quick(1), EventLog()).layers == best


def test_states_are_those_of_each_texts_last_token_whatever_stands_beside_it(base):
    model, ids = load_model(base).eval(), [[5, 6, 7, 8], [9], [10, 11]]
    together = frozen.last_states(model, ids, [1, 2], quick(1), EventLog())
    for row, text in enumerate(ids):
        alone = frozen.last_states(model, [text], [1, 2], quick(1), EventLog())
        for depth in (1, 2):
            np.testing.assert_allclose(together[depth][row], alone[depth][0], atol=1e-5)
    assert (model.norm.weight == 1).all()
    last = model.hidden(torch.tensor([[10, 11]]))[0, -1].detach()
    np.testing.assert_allclose(together[2][2], last, atol=1e-5)
    assert np.abs(together[1][2] - last.numpy()).max() > 1e-2


def test_rows_beyond_those_it_is_chosen_on_are_fitted_too(base, monkeypatch):
    model = load_model(base)
    ids = [[3 + number % 5, 9] for number in range(50)]
    targets = one_hot(np.arange(50) % 5 % 2, 2)
    monkeypatch.setattr(frozen, "choose_strength", lambda *_: 0.1)
    monkeypatch.setattr(frozen, "DEPTHS", (1.0,))
    whole = frozen.fit_head(model, ids, targets, [1.0] * 50, quick(1), EventLog())
    monkeypatch.setattr(frozen, "CHOSEN_ON", 30)
    parts = frozen.fit_head(model, ids, targets, [1.0] * 50, quick(1), EventLog())
    np.testing.assert_allclose(parts.weights, whole.weights, atol=1e-4)
    assert parts.weights.any()


def test_the_strength_suits_what_can_be_learned():
    """Much noise asks for a strong penalty, labels that are told apart without doubt for a weak one."""
    states, target = drawn(300, 40, 2)
    noise = np.random.default_rng(2).normal(size=states.shape).astype(np.float32)
    clear, vague = (
        linear.choose_strength(each, one_hot(target, 2), np.ones(300), "softmax", EventLog())
        for each in (states, noise)
    )
    assert clear > vague


def test_frozen_and_adapters_exclude_each_other():
    with pytest.raises(ConfigError, match="frozen"):
        ClassifyConfig.parse({"data": "x.csv", "frozen": True, "lora": {"rank": 4}, "training": {"optimizer": "adamw"}})


def test_a_share_of_the_rows_keeps_every_label_and_the_held_out_rows(made, corpus, base, tmp_path):
    few = FROZEN.model_copy(update={"share": 0.02})
    metrics = classify(job(few, tmp_path, corpus=corpus, model=base))
    whole, part = (read_rows(out / "data" / "train.jsonl") for out in (made[0], tmp_path / "out"))
    assert {row["label"] for row in part} == {row["label"] for row in whole}
    assert metrics["train_texts"] == len(part) < len(whole) / 20
    assert all(row in whole for row in part)
    held = [(out / "data" / "heldout.jsonl").read_bytes() for out in (made[0], tmp_path / "out")]
    assert held[0] == held[1]
