"""The gradient of one step, accumulated over all microbatches and ranks and divided once."""

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
from tutelage.training.distributed.dtensor import local_shard
from tutelage.training.distributed.parallel import Layout, sum_tensor_parallel, total_norm
from tutelage.training.distributed.pipeline import sum_tied
from tutelage.training.distributed.world import World
from tutelage.training.figures import microbatch_loss, totals
from tutelage.training.objective import Loss, Objective, Prepares


def step_gradient(
    model: DecoderLM,
    objective: Objective,
    microbatches: Iterable[Batch],
    clip: float,
    autocast: contextlib.AbstractContextManager[Any],
    world: World,
    layout: Layout,
    flags: Callable[[], dict[str, float]] = dict,
) -> tuple[dict[str, float], float]:
    """Compute the mean gradient over the step's rows into `.grad`, clipped to norm `clip`.

    Returns the step's `totals` and the norm before clipping. The values of `flags` after the backward pass are summed
    over all ranks in the same all-reduce. Raises TrainingError if no row has targets.
    """
    losses, tokens, ahead = [], list[torch.Tensor](), deque[torch.Tensor]()

    def backward() -> None:
        ahead.popleft().backward()  # type: ignore[no-untyped-call]

    if isinstance(objective, Prepares):
        microbatches = list(microbatches)
        with autocast:
            objective.prepare(model, microbatches, world)
    for microbatch in microbatches:
        with autocast:
            loss = microbatch_loss(model, objective, microbatch, layout)
        ahead.append(_with_auxiliary(model, loss))
        losses.append(Loss(loss.sum.detach(), loss.weight.detach(), loss.metrics))
        tokens.append((microbatch.documents > 0).sum())  # read at the end: one GPU synchronisation per step
        if len(ahead) >= layout.stages - (layout.pipeline.index if layout.pipeline else 0):  # 1F1B: enough in flight
            backward()
    while ahead:
        backward()
    counted = sum(int(count) for count in tokens) if layout.last_stage else 0
    total = totals(losses, world, layout, tokens=counted, **flags())
    if total["weight"] <= 0:
        raise TrainingError("no row of a step has targets", hint="check the loss mask of the data")
    sum_tensor_parallel(model, layout)
    if layout.pipeline:
        layout.pipeline.wait_for_sends()
        sum_tied(model, layout.pipeline)
    named = [(name, parameter.grad) for name, parameter in model.named_parameters() if parameter.grad is not None]
    own = [local_shard(grad) for _, grad in named]
    mean = 1 / total["weight"]
    norm = mean * total_norm([grad for name, grad in named if not layout.duplicate(name)])
    if layout.pipeline:
        norm = math.sqrt(layout.pipeline.sums([norm**2])[0])
    if own:  # a pipeline stage may be fully frozen; dividing and clipping take one pass over memory
        torch._foreach_mul_(own, mean * min(1.0, clip / (norm + 1e-6)))
    return total, norm


def _with_auxiliary(model: DecoderLM, loss: Loss) -> torch.Tensor:
    """The sum to differentiate: the objective's loss plus the model's auxiliary losses at the same weight."""
    auxiliary = model.auxiliary_loss()
    return loss.sum if auxiliary is None else loss.sum + auxiliary * loss.weight
