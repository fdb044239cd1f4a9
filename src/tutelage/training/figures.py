"""Losses of parts and processes added up to the figures of a step, and of a whole split."""

from __future__ import annotations

import math

import torch

from tutelage.model.decoder import DecoderLM
from tutelage.training.data.batch import Batch
from tutelage.training.data.position import spread_evenly
from tutelage.training.distributed.parallel import Layout
from tutelage.training.distributed.world import World
from tutelage.training.objective import Loss, Objective


def totals(losses: list[Loss], world: World, layout: Layout, **counts: float) -> dict[str, float]:
    """Sums over the parts of a step and all processes: `sum`, `weight`, each metric's two sums, and `counts`.

    One exchange in float64. Tensor-parallel processes compute the same rows; these count once. Of a pipeline only the
    last stage has losses.
    """
    names = layout.line.names(list(losses[0].metrics)) if layout.line else list(losses[0].metrics)
    if not layout.last_stage:  # it knows no loss: zeros add nothing
        nothing = torch.zeros(())
        losses = [Loss(nothing, nothing, dict.fromkeys(names, (nothing, nothing)))]
    sums = {
        "sum": sum(float(loss.sum) for loss in losses),
        "weight": sum(float(loss.weight) for loss in losses),
        **{f"{name}.sum": sum(float(loss.metrics[name][0]) for loss in losses) for name in names},
        **{f"{name}.weight": sum(float(loss.metrics[name][1]) for loss in losses) for name in names},
        **{name: float(value) for name, value in counts.items()},
    }
    copies = world.size // layout.rows // layout.stages
    summed = world.sums(list(sums.values()))
    return {name: value / copies if copies > 1 else value for name, value in zip(sums, summed, strict=True)}


def figures_of(total: dict[str, float]) -> dict[str, float]:
    """Loss and metrics from their sums: divided by weights, once."""
    figures = {"loss": total["sum"] / total["weight"] if total["weight"] else math.nan}
    for name in [key.removesuffix(".sum") for key in total if key.endswith(".sum")]:
        weight = total[f"{name}.weight"]
        figures[name] = total[f"{name}.sum"] / weight if weight else math.nan
    return figures


def part_loss(model: DecoderLM, objective: Objective, batch: Batch, layout: Layout) -> Loss:
    """The loss of a part of a batch. A stage that is not the last sends its part on; its sum has no value, but its
    backward pass begins with what comes back."""
    if layout.last_stage:
        return objective.loss(model, batch)
    sent = model.hidden(batch.tokens, batch.positions, batch.documents)
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
    """Loss and metrics of an objective over a split, without training; over `limit` rows spread evenly, 0 for all.

    Empty if there is no such split.
    """
    world, layout = world or World(), layout or Layout()
    if split not in objective.rows:
        return {}
    rows = objective.rows[split]
    index = spread_evenly(len(rows), limit)
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    losses = []
    # Processes that share the weights must call the model equally often: one without rows left repeats the first.
    for at in range(0, -(-len(index) // layout.rows), batch_rows):
        mine = index[layout.row :: layout.rows][at : at + batch_rows]
        loss = part_loss(model, objective, rows.batch(mine if len(mine) else index[:1]).to(device), layout)
        if not len(mine):
            nothing = {name: (a * 0, b * 0) for name, (a, b) in loss.metrics.items()}
            loss = Loss(loss.sum * 0, loss.weight * 0, nothing)
        losses.append(loss)
    if layout.line:
        layout.line.settle()
    model.train(was_training)
    return figures_of(totals(losses, world, layout))
