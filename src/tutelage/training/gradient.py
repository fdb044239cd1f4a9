"""The gradient of one step: of all parts of its batch, in all processes, divided once."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import torch

from tutelage.model.decoder import DecoderLM
from tutelage.store.errors import TrainingError
from tutelage.training.data.batch import Batch
from tutelage.training.distributed.parallel import Layout, sum_tensor_parallel, total_norm
from tutelage.training.distributed.pipeline import sum_tied
from tutelage.training.distributed.spread import local
from tutelage.training.distributed.world import World
from tutelage.training.figures import part_loss, totals
from tutelage.training.objective import Loss, Objective


def step_gradient(
    model: DecoderLM,
    objective: Objective,
    parts: Iterable[Batch],
    clip: float,
    autocast: contextlib.AbstractContextManager[Any],
    world: World,
    layout: Layout,
    flags: Callable[[], dict[str, float]] = dict,
) -> tuple[dict[str, float], float]:
    """Put the mean gradient of the step's rows, given in parts, into `.grad`, clipped to norm `clip`.

    Returns the step's `totals` and the norm before clipping.
    What `flags` says after the backward pass is added up over all processes in the same exchange. Raises TrainingError
    if no row has targets.
    """
    losses, tokens, ahead = [], list[torch.Tensor](), deque[torch.Tensor]()

    def backward() -> None:
        ahead.popleft().backward()  # type: ignore[no-untyped-call]

    for part in parts:
        with autocast:
            loss = part_loss(model, objective, part, layout)
        ahead.append(_with_auxiliary(model, loss))
        losses.append(Loss(loss.sum.detach(), loss.weight.detach(), loss.metrics))
        tokens.append((part.documents > 0).sum())  # read when all is done: a GPU is not waited for in between
        if len(ahead) >= layout.stages - (layout.line.stage if layout.line else 0):  # this stage has its share ahead
            backward()
    while ahead:
        backward()
    counted = sum(int(count) for count in tokens) if layout.last_stage else 0
    total = totals(losses, world, layout, tokens=counted, **flags())
    if total["weight"] <= 0:
        raise TrainingError("a whole step has no targets", hint="check the loss mask of the data")
    sum_tensor_parallel(model, layout)
    if layout.line:
        layout.line.settle()
        sum_tied(model, layout.line)
    named = [(name, parameter.grad) for name, parameter in model.named_parameters() if parameter.grad is not None]
    own = [local(grad) for _, grad in named]
    for grad in own:
        grad.div_(total["weight"])
    norm = total_norm([grad for name, grad in named if not layout.duplicate(name)])
    if layout.line:
        norm = math.sqrt(layout.line.sums([norm**2])[0])
    if own:  # a stage of a pipeline may be frozen whole
        torch._foreach_mul_(own, min(1.0, clip / (norm + 1e-6)))
    return total, norm


def _with_auxiliary(model: DecoderLM, loss: Loss) -> torch.Tensor:
    """The sum to differentiate: the objective's, and what the model's parts ask for with the same weight."""
    auxiliary = model.auxiliary_loss()
    return loss.sum if auxiliary is None else loss.sum + auxiliary * loss.weight
