"""A head on a frozen model: the layer that tells the labels apart best, and logistic regression on what it holds.

Nothing of the model is trained. What lies above the chosen layer is left out, so the classifier is smaller and faster
than the model, and it is an ordinary model directory: the weights of the regression are those of its head.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tutelage.finetuning.classify.config import CHOSEN_ON, DEPTHS
from tutelage.inference.scoring import length_batches, padded
from tutelage.model.decoder import DecoderLM
from tutelage.model.norms import make_norm
from tutelage.store.device import choose_device, choose_precision, set_threads
from tutelage.store.events import EventLog
from tutelage.store.progress import ticker
from tutelage.training.config import TrainingConfig

Floats = NDArray[np.float32]

PENALTIES = (30.0, 100.0, 300.0, 1000.0, 3000.0)  # of ridge regression, which compares the layers
STRENGTHS = (0.001, 0.01, 0.1, 1.0)  # values of C of the logistic regression, and then half a decade beside the best
FOLDS = 3


@dataclass(frozen=True)
class Head:
    """`weights` [labels, hidden_size] on the normalised state after `layers` layers; `strength` is its C.

    unseen: [rows, labels] probabilities of every training text by a fit that has not seen it.
    """

    layers: int
    weights: Floats
    strength: float
    unseen: Floats


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
    # Matrices this small lose more by threads that wait for each other than they gain.
    with threadpool_limits(1, user_api="blas"):
        layers = max(depths, key=lambda depth: (_left_out_accuracy(states[depth], target[sample], labels), -depth))
        mine = states.pop(layers)
        states.clear()
        strength = _strength(mine, target[sample], weight[sample], labels, log)
    if len(ids) > len(mine):
        rest = last_states(base, ids[CHOSEN_ON:], [layers], training, log)[layers]
        mine = np.concatenate([mine, rest])
    with threadpool_limits(1, user_api="blas"):
        fitted = logistic(Rotated.of(mine), target, weight, strength, labels)
        unseen = np.exp(_unseen(mine, target, weight, strength, _folds(mine), labels))
    return Head(layers, fitted, strength, unseen)


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
    device = choose_device(training.device)
    dtype = choose_precision(training.precision, device)
    # Nothing is trained, so the weights themselves may be rounded, which spares a cast for every product.
    model = (model if dtype == torch.float32 else copy.deepcopy(model)).to(device, dtype).eval()
    norm = make_norm(model.config, model.config.hidden_size).to(device)
    found = {depth: np.empty((len(ids), model.config.hidden_size), np.float32) for depth in depths}
    seen: dict[int, torch.Tensor] = {}

    def keep(depth: int) -> torch.utils.hooks.RemovableHandle:
        return model.layers[depth - 1].register_forward_hook(lambda _, __, out: seen.update({depth: out}))

    hooks = [keep(depth) for depth in depths]
    tick, done = ticker(log, "features of the frozen model", len(ids), "texts"), 0
    try:
        for rows in length_batches([len(text) for text in ids]):
            members = [ids[row] for row in rows]
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


@dataclass(frozen=True)
class Rotated:
    """States along their principal axes: `along` [rows, axes], the `size` of each axis, and the way `back` to weights
    [axes, hidden_size] on states as they are. Every dimension of the states counts the same, whatever its size."""

    along: Floats
    size: Floats
    back: Floats

    @classmethod
    def of(cls, states: Floats) -> Rotated:
        spread = _spread(states)
        left, size, axes = np.linalg.svd(states / spread, full_matrices=False)
        return cls(left * size, size, np.asarray(axes / spread, np.float32))


def _strength(
    states: Floats, target: NDArray[np.int64], weight: NDArray[np.float64], labels: int, log: EventLog
) -> float:
    """The C whose fits give held-back rows the most probability; of equally good ones the smallest."""
    rotated = _folds(states)
    tick = ticker(log, "head", (len(STRENGTHS) + 2) * FOLDS, "fits")
    losses: dict[float, float] = {}

    def measure(strength: float) -> None:
        logprobs = _unseen(states, target, weight, strength, rotated, labels)
        losses[strength] = -float((weight * logprobs[np.arange(len(target)), target]).sum())
        tick(len(losses) * FOLDS)

    for strength in STRENGTHS:
        measure(strength)
    coarse = min(losses, key=lambda strength: (losses[strength], strength))
    for strength in (coarse / 10**0.5, coarse * 10**0.5):
        measure(strength)
    return min(losses, key=lambda strength: (losses[strength], strength))


def _folds(states: Floats) -> list[Rotated]:
    """The states of each fit: all but those of one fold."""
    fold = np.arange(len(states)) % FOLDS
    return [Rotated.of(states[fold != part]) for part in range(FOLDS)]


def _unseen(
    states: Floats, target: NDArray[np.int64], weight: NDArray[np.float64], strength: float,
    rotated: Sequence[Rotated], labels: int,
) -> Floats:  # fmt: skip
    """Log-probabilities [rows, labels] of each row by the fit that has not seen it."""
    fold = np.arange(len(target)) % FOLDS
    found = np.empty((len(target), labels), np.float32)
    for part in range(FOLDS):
        fit = fold != part
        weights = logistic(rotated[part], target[fit], weight[fit], strength, labels)
        found[~fit] = _log_softmax(states[~fit] @ weights.T)
    return found


def logistic(
    states: Rotated, target: NDArray[np.int64], weight: NDArray[np.float64], strength: float, labels: int
) -> Floats:
    """Weights [labels, hidden_size] of multinomial logistic regression without a bias: least squared weights / 2 +
    `strength` * sum of weighted losses. A label that no row has stays at zero.

    The axes are scaled by what Newton's method would do at the start, so that L-BFGS needs tens of steps, not hundreds.
    """
    from scipy.optimize import minimize

    there = np.unique(target)
    found = np.zeros((labels, states.back.shape[1]), np.float32)
    if len(there) < 2:
        return found
    wanted = (target[:, None] == there).astype(np.float32)
    count = len(there)
    curvature = strength * states.size**2 * (count - 1) / count**2
    scale = (1 / np.sqrt(1 + curvature)).astype(np.float32)
    along, weights = states.along * scale, weight[:, None].astype(np.float32)

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        u = flat.reshape(count, -1).astype(np.float32)
        logprobs = _log_softmax(along @ u.T)
        shrunk = u * scale
        loss = 0.5 * float((shrunk**2).sum()) - strength * float((weights * wanted * logprobs).sum(dtype=np.float64))
        slope = shrunk * scale + strength * ((np.exp(logprobs) - wanted) * weights).T @ along
        return loss, slope.ravel().astype(np.float64)

    start = np.zeros(count * along.shape[1])
    solved = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 300, "ftol": 1e-7})
    found[there] = (solved.x.reshape(count, -1) * scale) @ states.back
    return found


def _log_softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    peak = logits.max(axis=1, keepdims=True)
    logprobs: NDArray[np.floating[Any]] = logits - peak - np.log(np.exp(logits - peak).sum(axis=1, keepdims=True))
    return logprobs


def _spread(states: Floats) -> Floats:
    return np.asarray(states.std(axis=0) + 1e-6, np.float32)
