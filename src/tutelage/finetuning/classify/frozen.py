"""A head on a frozen model: the layer that tells the labels apart best, and logistic regression on what it holds.

Nothing of the model is trained. What lies above the chosen layer is left out, so the classifier is smaller and faster
than the model, and it is an ordinary model directory: the weights of the regression are those of its head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tutelage.finetuning.common import device_and_autocast
from tutelage.inference.scoring import length_batches, padded
from tutelage.model.decoder import DecoderLM
from tutelage.model.norms import make_norm
from tutelage.store.device import set_threads
from tutelage.store.events import EventLog
from tutelage.store.progress import ticker
from tutelage.training.config import TrainingConfig

Floats = NDArray[np.float32]

DEPTHS = (1 / 2, 2 / 3, 5 / 6, 1.0)  # of the layers; the middle ones often say most of what a text is about
PENALTIES = (30.0, 100.0, 300.0, 1000.0, 3000.0)  # of ridge regression, which compares the layers
STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1)  # values of C of the logistic regression
CHOSEN_ON = 2000  # rows that the layer and C are chosen on
FOLDS = 3
_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Head:
    """`weights` [labels, hidden_size] on the normalised state after `layers` layers; `strength` is its C."""

    layers: int
    weights: Floats
    strength: float


def fit_head(
    base: DecoderLM, ids: Sequence[Sequence[int]], targets: Sequence[int], weights: Sequence[float],
    training: TrainingConfig, log: EventLog,
) -> Head:  # fmt: skip
    """Choose layer and C by rows held back from the fit, then fit on all rows.

    ids: tokens of each text, as the classifier reads them, in an order that depends on nothing but the seed. targets:
    indices of labels, all of which occur. weights: of each row.
    """
    set_threads(training.threads)
    labels = max(targets) + 1
    target, weight = np.array(targets), np.array(weights)
    depths = sorted({max(1, round(share * base.config.num_layers)) for share in DEPTHS})
    sample = slice(0, CHOSEN_ON)
    states = last_states(base, ids[sample], depths, training, log)
    layers = max(depths, key=lambda depth: (_left_out_accuracy(states[depth], target[sample], labels), -depth))
    mine = states.pop(layers)
    states.clear()
    strength = _strength(mine, target[sample], weight[sample], labels, log)
    if len(ids) > len(mine):
        rest = last_states(base, ids[CHOSEN_ON:], [layers], training, log)[layers]
        mine = np.concatenate([mine, rest])
    return Head(layers, logistic(mine, target, weight, strength, labels), strength)


def with_fitted_head(base: DecoderLM, head: Head, labels: Sequence[str]) -> DecoderLM:
    """The first layers of the model, a norm that only normalises, and the fitted head."""
    config = base.config.with_(num_layers=head.layers, num_labels=len(labels), labels=tuple(labels))
    with torch.device("meta"):
        model = DecoderLM(config, seed=None)
    kept = base.state_dict()
    norm = {f"norm.{name}": value for name, value in make_norm(config, config.hidden_size).state_dict().items()}
    state = {
        name: kept[name].cpu().clone() for name in model.state_dict() if name in kept and not name.startswith("norm.")
    }
    model.load_state_dict({**state, **norm, "score.weight": torch.from_numpy(head.weights)}, assign=True)
    return model


@torch.no_grad()
def last_states(
    model: DecoderLM, ids: Sequence[Sequence[int]], depths: Sequence[int], training: TrainingConfig, log: EventLog
) -> dict[int, Floats]:
    """The normalised state [texts, hidden_size] at each text's last token, after so many layers."""
    device, autocast = device_and_autocast(training)
    model.to(device).eval()
    norm = make_norm(model.config, model.config.hidden_size).to(device)
    found = {depth: np.empty((len(ids), model.config.hidden_size), np.float32) for depth in depths}
    seen: dict[int, torch.Tensor] = {}

    def keep(depth: int) -> torch.utils.hooks.RemovableHandle:
        return model.layers[depth - 1].register_forward_hook(lambda _, __, out: seen.update({depth: out}))

    hooks = [keep(depth) for depth in depths]
    tick, done = ticker(log, "features of the frozen model", len(ids), "texts"), 0
    try:
        for rows in length_batches([len(text) for text in ids], _BATCH_TOKENS):
            members = [ids[row] for row in rows]
            with autocast:
                model.hidden(padded(members).to(device))
            last = torch.tensor([len(text) - 1 for text in members], device=device)
            for depth in depths:
                states = norm(seen[depth][torch.arange(len(rows), device=device), last].float())
                found[depth][rows] = states.cpu().numpy()
            done += len(rows)
            tick(done)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _left_out_accuracy(states: Floats, target: NDArray[np.int64], labels: int) -> float:
    """Share of rows told right by ridge regression on all the others, at the best penalty; in closed form.

    A row's prediction without itself follows from the one with it and its leverage (Allen 1974, PRESS).
    """
    wanted = np.eye(labels)[target]
    mean = wanted.mean(axis=0)
    left, scale, _ = np.linalg.svd(states / _spread(states), full_matrices=False)
    inside = left.T @ (wanted - mean)
    best = 0.0
    for penalty in PENALTIES:
        kept = scale**2 / (scale**2 + penalty)
        leverage = np.minimum((left**2 * kept).sum(axis=1), 1 - 1e-6)
        missed = (wanted - mean - left @ (kept[:, None] * inside)) / (1 - leverage)[:, None]
        best = max(best, float(((wanted - missed).argmax(axis=1) == target).mean()))
    return best


def _strength(
    states: Floats, target: NDArray[np.int64], weight: NDArray[np.float64], labels: int, log: EventLog
) -> float:
    """The C whose fits give held-back rows the most probability; of equally good ones the smallest."""
    fold = np.arange(len(target)) % FOLDS
    tick, done = ticker(log, "head", len(STRENGTHS) * FOLDS, "fits"), 0
    losses = []
    for strength in STRENGTHS:
        loss = 0.0
        for part in range(FOLDS):
            fit, check = fold != part, fold == part
            fitted = logistic(states[fit], target[fit], weight[fit], strength, labels)
            logits = states[check] @ fitted.T
            peak = logits.max(axis=1, keepdims=True)
            logprobs = logits - peak - np.log(np.exp(logits - peak).sum(axis=1, keepdims=True))
            loss -= float((weight[check] * logprobs[np.arange(check.sum()), target[check]]).sum())
            done += 1
            tick(done)
        losses.append(loss)
    return STRENGTHS[int(np.argmin(losses))]


def logistic(
    states: Floats, target: NDArray[np.int64], weight: NDArray[np.float64], strength: float, labels: int
) -> Floats:
    """Weights [labels, hidden_size] of penalised logistic regression without a bias, to be used on states as they are.

    Every dimension counts the same in the penalty, whatever its size. A label that no row has stays at zero.
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    spread = _spread(states)
    found = np.zeros((labels, states.shape[1]), np.float32)
    if len(np.unique(target)) < 2:
        return found
    model = LogisticRegression(C=strength, fit_intercept=False, max_iter=200, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 200 steps are near enough to the optimum
        model.fit(states / spread, target, sample_weight=weight)
    fitted = model.coef_ / spread
    found[model.classes_] = np.concatenate([-fitted / 2, fitted / 2]) if len(fitted) == 1 else fitted
    return found


def _spread(states: Floats) -> Floats:
    return np.asarray(states.std(axis=0) + 1e-6, np.float32)
