"""The interface of an objective."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from tutelage.model.decoder import DecoderLM
from tutelage.training.cross_entropy import linear_cross_entropy
from tutelage.training.data.batch import Batch
from tutelage.training.data.packing import Rows
from tutelage.training.data.position import DataState
from tutelage.training.distributed.world import World


@dataclass
class Loss:
    """A loss as a sum and the weight it must be divided by, so that microbatches can be added exactly.

    metrics: name -> (sum, weight), both scalars without gradient.
    """

    sum: Tensor
    weight: Tensor
    metrics: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)


class Objective(Protocol):
    """Rows to train and validate on (`train`, `validation`) and a loss of a batch; the loop uses nothing else.

    An objective may have `sample(model, step)`, called after each validation for display.
    """

    name: str

    @property
    def rows(self) -> Mapping[str, Rows]: ...

    def loss(self, model: DecoderLM, batch: Batch) -> Loss: ...


@runtime_checkable
class OnPolicy(Protocol):
    """An on-policy objective: its rows are sampled from the current weights before each step.

    Every rank calls `collect`; its result gives the batch for any of the step's rows, numbered from 0. `record`
    (JSON-ready) is stored in every checkpoint and passed to `restore`, so that a killed run does not lose rows
    collected for several steps. After a rollback it is None, because earlier rows are no longer valid.
    """

    def collect(
        self, model: DecoderLM, data: DataState, autocast: Callable[[], AbstractContextManager[Any]]
    ) -> Callable[[NDArray[np.int64]], Batch]: ...

    def record(self) -> dict[str, Any]: ...

    def restore(self, record: dict[str, Any] | None) -> None: ...


@runtime_checkable
class Prepares(Protocol):
    """An objective whose loss depends on a statistic of the full step (KTO's reference point).

    `prepare` gets this rank's microbatches before the first `loss` of a step, without gradient and in the training
    precision; it must reduce its result over the ranks of `world`.
    """

    def prepare(self, model: DecoderLM, batches: Sequence[Batch], world: World) -> None: ...


def stop_probability(nll: Tensor, targets: Tensor, stop_ids: Sequence[int]) -> tuple[Tensor, Tensor]:
    """(sum, count) of the stop token's probability at positions where it is the target; nll, targets: [n]."""
    ends = torch.isin(targets, targets.new_tensor(stop_ids))
    return nll.detach()[ends].neg().exp().sum(), ends.sum().float()


def target_nll(model: DecoderLM, batch: Batch) -> tuple[Tensor, Tensor]:
    """Negative log-likelihoods [n] of the weighted targets, float32, and the mask [rows, length] of where they are.

    The head runs only at positions with targets, so prompts cost no logits.
    """
    hidden = model.hidden(batch.tokens, batch.positions, batch.documents, branches=batch.branches)
    wanted = batch.weights > 0
    logits = model.logits(hidden[wanted])
    return F.cross_entropy(logits, batch.targets[wanted], reduction="none"), wanted


def summed_nll(model: DecoderLM, batch: Batch, weighted: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Sum (with gradient) and values [n] (without) of the weighted targets' negative log-likelihoods, and their mask.

    For objectives whose loss is this sum, each value counted once or (`weighted`) by its weight; the logits are never
    in memory at once.
    """
    hidden = model.hidden(batch.tokens, batch.positions, batch.documents, branches=batch.branches)
    wanted = batch.weights > 0
    config = model.config
    total, nll = linear_cross_entropy(
        hidden[wanted] / config.logit_divisor, model.head_weight, batch.targets[wanted], config.logit_softcap,
        batch.weights[wanted] if weighted else None,
    )  # fmt: skip
    return total, nll, wanted
