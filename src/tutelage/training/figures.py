"""Reduce the losses of microbatches and ranks to the figures of a step, and of a full data split."""

from __future__ import annotations

import math

import torch

from tutelage.model.decoder import DecoderLM
from tutelage.training.data.batch import Batch
from tutelage.training.data.position import evenly_spaced
from tutelage.training.distributed.parallel import Layout
from tutelage.training.distributed.world import World
from tutelage.training.objective import Loss, Objective, Prepares


def totals(losses: list[Loss], world: World, layout: Layout, **counts: float) -> dict[str, float]:
    """Sums over the microbatches of a step and all ranks: `sum`, `weight`, each metric's two sums, and `counts`.

    One all-reduce in float64. Tensor-parallel ranks compute the same rows, which count once. In a pipeline only the
    last stage has losses.
    """
    names = layout.pipeline.metric_names(list(losses[0].metrics)) if layout.pipeline else list(losses[0].metrics)
    if not layout.last_stage:  # it has no loss: contributes zeros
        nothing = torch.zeros(())
        losses = [Loss(nothing, nothing, dict.fromkeys(names, (nothing, nothing)))]
    sums = {
        "sum": sum(float(loss.sum) for loss in losses),
        "weight": sum(float(loss.weight) for loss in losses),
        **{f"{name}.sum": sum(float(loss.metrics[name][0]) for loss in losses) for name in names},
        **{f"{name}.weight": sum(float(loss.metrics[name][1]) for loss in losses) for name in names},
        **{name: float(value) for name, value in counts.items()},
    }
    copies = world.size // layout.data_size // layout.stages
    summed = world.sums(list(sums.values()))
    return {name: value / copies if copies > 1 else value for name, value in zip(sums, summed, strict=True)}


def figures_of(total: dict[str, float]) -> dict[str, float]:
    """Loss and metrics: their sums divided by their weights."""
    figures = {"loss": total["sum"] / total["weight"] if total["weight"] else math.nan}
    for name in [key.removesuffix(".sum") for key in total if key.endswith(".sum")]:
        weight = total[f"{name}.weight"]
        figures[name] = total[f"{name}.sum"] / weight if weight else math.nan
    return figures


def microbatch_loss(model: DecoderLM, objective: Objective, batch: Batch, layout: Layout) -> Loss:
    """The loss of a microbatch. A pipeline stage before the last sends its hidden states; its sum is a dummy whose
    backward pass receives their gradient."""
    if layout.last_stage:
        return objective.loss(model, batch)
    sent = model.hidden(batch.tokens, batch.positions, batch.documents, branches=batch.branches)
    return Loss(sent, torch.zeros_like(sent), {})


@torch.no_grad()
def evaluate_objective(
    model: DecoderLM,
    objective: Objective,
    split: str = "validation",
    batch_rows: int = 16,
    limit: int = 0,
    world: World | None = None,
    layout: Layout | None = None,
) -> dict[str, float]:
    """Loss and metrics of an objective over a split, without gradient, on `limit` evenly spaced rows (0: all).

    Empty if the split does not exist.
    """
    world, layout = world or World(), layout or Layout()
    if split not in objective.rows:
        return {}
    rows = objective.rows[split]
    index = evenly_spaced(len(rows), limit)
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    losses = []
    # Ranks that shard the weights must run the same number of forward passes: one without rows left repeats the first.
    parts = [
        index[layout.data_rank :: layout.data_size][at : at + batch_rows]
        for at in range(0, -(-len(index) // layout.data_size), batch_rows)
    ]
    if isinstance(objective, Prepares):
        objective.prepare(model, [rows.batch(mine if len(mine) else index[:1]).to(device) for mine in parts], world)
    for mine in parts:
        loss = microbatch_loss(model, objective, rows.batch(mine if len(mine) else index[:1]).to(device), layout)
        if not len(mine):
            nothing = {name: (a * 0, b * 0) for name, (a, b) in loss.metrics.items()}
            loss = Loss(loss.sum * 0, loss.weight * 0, nothing)
        losses.append(loss)
    if layout.pipeline:
        layout.pipeline.wait_for_sends()
    model.train(was_training)
    return figures_of(totals(losses, world, layout))
