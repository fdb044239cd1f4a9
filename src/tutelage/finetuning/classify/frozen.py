"""A head on a frozen model: logistic regression on the states of the most discriminative layer.

The model is not trained. Layers above the chosen one are removed, so the classifier is smaller and faster than the
model; it is an ordinary model directory with the regression weights as its head.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from tutelage.finetuning.classify.config import CHOSEN_ON, DEPTHS
from tutelage.finetuning.classify.linear import (
    Floats,
    Link,
    Rotated,
    choose_strength,
    folds,
    left_out_score,
    likelihood,
    logistic,
    unseen_scores,
)
from tutelage.inference.scoring import length_batches, padded
from tutelage.model.decoder import DecoderLM
from tutelage.model.norms import make_norm
from tutelage.model.pooling import pooled
from tutelage.store.device import choose_device, choose_precision, set_threads
from tutelage.store.events import EventLog
from tutelage.store.progress import ticker
from tutelage.training.config import TrainingConfig


@dataclass(frozen=True)
class Head:
    """`weights` [labels, hidden_size] on the normalised state after `layers` layers; `strength` is its C.

    unseen: [rows, labels] probabilities of every training text by a fit that has not seen it. states: [rows,
    hidden_size] of every training text, the input of the head.
    """

    layers: int
    weights: Floats
    strength: float
    unseen: Floats
    states: Floats


def fit_head(
    base: DecoderLM, ids: Sequence[Sequence[int]], wanted: Floats, weights: Sequence[float], training: TrainingConfig,
    log: EventLog, link: Link = "softmax",
) -> Head:  # fmt: skip
    """Choose layer and C by cross-validation, then fit on all rows.

    ids: tokens of each text in classifier format, in an order that depends only on the seed. wanted: [rows, labels], 1
    if a row has the label; every label has a row. weights: of each row.
    """
    set_threads(training.threads)
    weight = np.array(weights)
    depths = sorted({max(1, round(share * base.config.num_layers)) for share in DEPTHS})
    sample = slice(0, CHOSEN_ON)
    states = last_states(base, ids[sample], depths, training, log)
    # For matrices this small, thread synchronisation costs more than it gains.
    with threadpool_limits(1, user_api="blas"):
        layers = max(depths, key=lambda depth: (left_out_score(states[depth], wanted[sample], link), -depth))
        mine = states.pop(layers)
        states.clear()
        strength = choose_strength(mine, wanted[sample], weight[sample], link, log)
    if len(ids) > len(mine):
        rest = last_states(base, ids[CHOSEN_ON:], [layers], training, log)[layers]
        mine = np.concatenate([mine, rest])
    with threadpool_limits(1, user_api="blas"):
        fitted = logistic(Rotated.of(mine), wanted, weight, strength, link)
        scores = unseen_scores(mine, wanted, weight, strength, folds(mine), link)
    return Head(layers, fitted, strength, np.asarray(likelihood(scores, wanted, link)[1], np.float32), mine)


def with_fitted_head(base: DecoderLM, head: Head, labels: Sequence[str], **kind: bool) -> DecoderLM:
    """The first layers of the model, a norm without scale, and the fitted head.

    kind: `multi_label` or `ordinal`.
    """
    own = {"num_layers": head.layers, "num_labels": len(labels), "labels": tuple(labels)}
    config = base.config.with_(**{"multi_label": False, "ordinal": False, **kind, **own})
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
    """For each depth, the pooled normalised states after that many layers, [texts, hidden_size]."""
    device = choose_device(training.device)
    dtype = choose_precision(training.precision, device)
    # Without training, the weights can be cast once instead of for every product.
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
            row = torch.arange(len(rows), device=device)
            length = torch.tensor([len(text) for text in members], device=device)
            for depth in depths:
                states = pooled(norm(seen[depth].float()), row, length - 1, length, model.config)
                found[depth][rows] = states.cpu().numpy()
            done += len(rows)
            tick(done)
    finally:
        for hook in hooks:
            hook.remove()
    return found
