"""The gradient of one step: of all parts of its batch, in all processes, divided once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch

from tutelage.model.decoder import DecoderLM
from tutelage.store.errors import TrainingError
from tutelage.training.config import TrainingConfig
from tutelage.training.figures import totals
from tutelage.training.objective import Loss, Objective
from tutelage.training.parallel import Layout, gradient_norm, sum_tensor_parallel
from tutelage.training.position import DataState, parts_of_step
from tutelage.training.spread import local
from tutelage.training.world import World


def step_gradient(
    model: DecoderLM,
    objective: Objective,
    config: TrainingConfig,
    state: DataState,
    autocast: contextlib.AbstractContextManager[Any],
    world: World,
    layout: Layout,
    flags: Callable[[], dict[str, float]] = dict,
) -> tuple[dict[str, float], float]:
    """Put the mean gradient of the step's rows, clipped, into `.grad`.

    Returns the step's `totals` and the norm before clipping.
    What `flags` says after the backward pass is added up over all processes in the same exchange. Raises TrainingError
    if no row has targets.
    """
    device = next(model.parameters()).device
    losses, tokens = [], 0
    rows = objective.rows["train"]
    for part in parts_of_step(rows, state, config.batch_rows, config.accumulation, layout.row, layout.rows):
        part = part.to(device)
        with autocast:
            loss = objective.loss(model, part)
        _with_auxiliary(model, loss).backward()  # type: ignore[no-untyped-call]
        losses.append(Loss(loss.sum.detach(), loss.weight.detach(), loss.metrics))
        tokens += int((part.documents > 0).sum())
    total = totals(losses, world, layout, tokens=tokens, **flags())
    if total["weight"] <= 0:
        raise TrainingError("a whole step has no targets", hint="check the loss mask of the data")
    sum_tensor_parallel(model, layout)
    parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
    grads = [local(parameter.grad) for parameter in parameters if parameter.grad is not None]
    for grad in grads:
        grad.div_(total["weight"])
    norm = gradient_norm(parameters)
    torch._foreach_mul_(grads, min(1.0, config.grad_clip / (norm + 1e-6)))
    return total, norm


def _with_auxiliary(model: DecoderLM, loss: Loss) -> torch.Tensor:
    """The sum to differentiate: the objective's, and what the model's parts ask for with the same weight."""
    auxiliary = model.auxiliary_loss()
    return loss.sum if auxiliary is None else loss.sum + auxiliary * loss.weight
