"""Pipeline parallelism: consecutive blocks of one model on each of several ranks.

Each stage has its own blocks, the first also the embedding, the last also the final norm and the head. Hidden states of
a microbatch are sent forward, their gradients backward; `gradient.step_gradient` schedules the microbatches of a step
one forward, one backward (1F1B; Narayanan et al. 2021, section 2.2).
"""

# Why not torch.distributed.pipelining: its schedules chunk a batch evenly, fix the shapes at the first microbatch and
# call loss_fn(output, target); our objectives call the model themselves (masks, sum and weight) with varying row
# counts.

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.store.errors import ConfigError
from tutelage.training.distributed.dtensor import local_shard

TIED = "embed_tokens.weight"  # with tied embeddings, both the first and the last stage have this weight


@dataclass
class PipelineStage:
    """This rank's stage of a pipeline.

    `ranks`: global ranks of all stages, in order. Each direction has its own process group, because forward and
    backward sends overlap.
    """

    index: int
    ranks: list[int]
    forward_group: Any
    backward_group: Any
    pending: list[tuple[Any, Tensor]] = field(default_factory=list)
    known_metrics: list[str] | None = None

    @property
    def first(self) -> bool:
        return self.index == 0

    @property
    def last(self) -> bool:
        return self.index == len(self.ranks) - 1

    def send(self, tensor: Tensor, direction: int) -> None:
        """Asynchronous send to the next stage (1) or the previous one (-1)."""
        group = self.forward_group if direction > 0 else self.backward_group
        tensor = tensor.detach().float().contiguous()
        while len(self.pending) > 2 * len(self.ranks):  # only validation gets this far ahead
            self.pending.pop(0)[0].wait()
        self.pending.append((dist.isend(tensor, self.ranks[self.index + direction], group=group), tensor))

    def receive(self, shape: tuple[int, ...], source: int, device: torch.device) -> Tensor:
        """Receive from the previous stage (-1: activations) or the next one (1: gradients)."""
        tensor = torch.empty(shape, device=device)
        dist.recv(
            tensor, self.ranks[self.index + source], group=self.forward_group if source < 0 else self.backward_group
        )
        return tensor

    def wait_for_sends(self) -> None:
        """Wait for all pending sends."""
        for work, _ in self.pending:
            work.wait()
        self.pending.clear()

    def sums(self, values: list[float]) -> list[float]:
        """Sum of each value over the stages."""
        total = torch.tensor(values, dtype=torch.float64)
        total = total.cuda() if dist.get_backend(self.forward_group) == "nccl" else total
        dist.all_reduce(total, group=self.forward_group)
        return [float(value) for value in total.tolist()]

    def metric_names(self, own: list[str]) -> list[str]:
        """Broadcast the metric names of the last stage to all stages."""
        if self.known_metrics is None:
            box = [own]
            dist.broadcast_object_list(box, src=self.ranks[-1], group=self.forward_group)
            self.known_metrics = box[0]
        return self.known_metrics


def make_pipeline_stage(mesh: DeviceMesh, rank: int) -> PipelineStage | None:
    """This rank's stage in a mesh (pipeline, ..); None with one stage. A collective: every rank must call it."""
    if mesh["pipeline"].size() == 1:
        return None
    found = None
    for column in mesh.mesh.flatten(1).T.tolist():
        groups = dist.new_group(column), dist.new_group(column)
        if rank in column:
            found = PipelineStage(column.index(rank), column, *groups)
    return found


def stage_of(name: str, config: ModelConfig, stages: int) -> int:
    """The stage that owns a weight; a tied embedding belongs to the first stage."""
    if name.startswith("layers."):
        return int(name.split(".")[1]) * stages // config.num_layers
    return 0 if name.startswith("embed_") else stages - 1


def keep_stage(model: DecoderLM, stage: PipelineStage) -> None:
    """Reduce `model` in place to this stage's part; its `hidden` receives at the start and sends at the end."""
    config, stages = model.config, len(stage.ranks)
    if config.num_layers < stages:
        raise ConfigError(f"training.parallel.pipeline ({stages}) exceeds the model's {config.num_layers} blocks")
    if config.experts is not None and config.experts.balance == "auxiliary":
        raise ConfigError("pipeline parallelism does not support the experts' balance loss", hint="use balance: bias")
    for number in range(config.num_layers):
        if stage_of(f"layers.{number}.", config, stages) != stage.index:
            model.layers[number] = _OtherStageBlock()
    if not stage.first:
        model.embed = _Receive(stage, config.hidden_size)  # type: ignore[assignment]
        if config.positions == "learned":
            del model.embed_positions
        if not (stage.last and config.tie_word_embeddings):
            del model.embed_tokens
    if not stage.last:
        model.norm = _Send(stage)
        for head in ("lm_head", "score"):
            if hasattr(model, head):
                delattr(model, head)


def sum_tied(model: DecoderLM, stage: PipelineStage) -> None:
    """Sum the gradients of a tied embedding over first and last stage, so that both apply the same update."""
    if not model.config.tie_word_embeddings or not (stage.first or stage.last):
        return
    other = stage.ranks[-1 if stage.first else 0]
    parameter = model.embed_tokens.weight
    if not parameter.requires_grad:
        return
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    grad = local_shard(parameter.grad)
    theirs, mine = torch.empty_like(grad), grad.clone()
    forward, backward = stage.forward_group, stage.backward_group
    out, back = (forward, backward) if stage.first else (backward, forward)
    sent = dist.isend(mine, other, group=out)
    dist.recv(theirs, other, group=back)
    if sent is not None:
        sent.wait()
    grad.add_(theirs)


class _OtherStageBlock(nn.Module):
    """Placeholder for a block of another stage."""

    def forward(self, x: Tensor, context: Any) -> Tensor:
        return x


class _Send(nn.Module):
    """Sends hidden states to the next stage; returns a scalar whose backward pass receives their gradient."""

    def __init__(self, stage: PipelineStage) -> None:
        super().__init__()
        self.stage = stage

    def forward(self, x: Tensor) -> Tensor:
        return _SendFunction.apply(_start(x.device), x, self.stage)  # type: ignore[no-untyped-call]


class _Receive:
    """Replaces the embedding: receives hidden states from the previous stage and sends their gradient back."""

    def __init__(self, stage: PipelineStage, hidden_size: int) -> None:
        self.stage, self.hidden_size = stage, hidden_size

    def __call__(self, tokens: Tensor, positions: Tensor) -> Tensor:
        shape = (*tokens.shape, self.hidden_size)
        return _ReceiveFunction.apply(_start(tokens.device), self.stage, shape)  # type: ignore[no-untyped-call]


def _start(device: torch.device) -> Tensor:
    """A dummy input that requires grad, so that autograd runs backward even if no earlier weight is trained."""
    return torch.zeros((), device=device, requires_grad=True)


class _SendFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, start: Tensor, x: Tensor, stage: PipelineStage) -> Tensor:  # type: ignore[override]
        stage.send(x, 1)
        ctx.stage, ctx.shape, ctx.dtype = stage, x.shape, x.dtype
        return torch.zeros((), device=x.device)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None]:  # type: ignore[override]
        return None, ctx.stage.receive(ctx.shape, 1, grads[0].device).to(ctx.dtype), None


class _ReceiveFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, start: Tensor, stage: PipelineStage, shape: tuple[int, ...]) -> Tensor:  # type: ignore[override]
        ctx.stage = stage
        return stage.receive(shape, -1, start.device)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, None]:  # type: ignore[override]
        ctx.stage.send(grads[0], -1)
        return None, None, None
