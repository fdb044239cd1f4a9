"""Pipeline parallelism: the blocks of one model in several processes, some in a row each.

A stage keeps its own blocks, the first also the embedding, the last also the final norm and the head. What passes
between them are the hidden states of one part of a batch, and their gradients back; the parts of a step follow each
other one forward, one backward (Narayanan et al. 2021, section 2.2), which `gradient.step_gradient` sees to.
"""

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
from tutelage.training.distributed.spread import local

TIED = "embed_tokens.weight"  # a head that is the embedding lives in the first and in the last stage


@dataclass
class Line:
    """This process's place among the stages that one part of a batch goes through.

    `ranks`: the processes of the line, in order. What goes on and what comes back have a group each: they cross.
    """

    stage: int
    ranks: list[int]
    onward: Any
    back: Any
    pending: list[tuple[Any, Tensor]] = field(default_factory=list)
    known: list[str] | None = None

    @property
    def first(self) -> bool:
        return self.stage == 0

    @property
    def last(self) -> bool:
        return self.stage == len(self.ranks) - 1

    def send(self, tensor: Tensor, step: int) -> None:
        """To the next stage (step 1) or the one before (-1); returns at once."""
        group = self.onward if step > 0 else self.back
        tensor = tensor.detach().float().contiguous()
        while len(self.pending) > 2 * len(self.ranks):  # only a validation runs so far ahead
            self.pending.pop(0)[0].wait()
        self.pending.append((dist.isend(tensor, self.ranks[self.stage + step], group=group), tensor))

    def receive(self, shape: tuple[int, ...], step: int, device: torch.device) -> Tensor:
        """What the stage before sent on (step -1), or the next one sent back (1)."""
        tensor = torch.empty(shape, device=device)
        dist.recv(tensor, self.ranks[self.stage + step], group=self.onward if step < 0 else self.back)
        return tensor

    def settle(self) -> None:
        """Return when everything that was sent has left."""
        for work, _ in self.pending:
            work.wait()
        self.pending.clear()

    def sums(self, values: list[float]) -> list[float]:
        """Each value added up over the stages."""
        total = torch.tensor(values, dtype=torch.float64)
        total = total.cuda() if dist.get_backend(self.onward) == "nccl" else total
        dist.all_reduce(total, group=self.onward)
        return [float(value) for value in total.tolist()]

    def names(self, known: list[str]) -> list[str]:
        """What the last stage knows, in every stage: the names of its metrics."""
        if self.known is None:
            box = [known]
            dist.broadcast_object_list(box, src=self.ranks[-1], group=self.onward)
            self.known = box[0]
        return self.known


def make_line(mesh: DeviceMesh, rank: int) -> Line | None:
    """This process's line of a mesh (pipeline, ..); None where there is one stage. Every process calls it."""
    if mesh["pipeline"].size() == 1:
        return None
    found = None
    for column in mesh.mesh.flatten(1).T.tolist():
        groups = dist.new_group(column), dist.new_group(column)
        if rank in column:
            found = Line(column.index(rank), column, *groups)
    return found


def stage_of(name: str, config: ModelConfig, stages: int) -> int:
    """The stage that a weight belongs to; the embedding as a head is a copy and not meant here."""
    if name.startswith("layers."):
        return int(name.split(".")[1]) * stages // config.num_layers
    return 0 if name.startswith("embed_") else stages - 1


def cut(model: DecoderLM, line: Line) -> None:
    """Leave of `model` what this stage holds, in place; its `hidden` begins with what comes in and ends by sending."""
    config, stages = model.config, len(line.ranks)
    if config.num_layers < stages:
        raise ConfigError(f"training.parallel.pipeline ({stages}) is more than the {config.num_layers} blocks")
    if config.experts is not None and config.experts.balance == "auxiliary":
        raise ConfigError("a pipeline does not carry the balance loss of experts", hint="use balance: bias")
    for number in range(config.num_layers):
        if stage_of(f"layers.{number}.", config, stages) != line.stage:
            model.layers[number] = _Elsewhere()
    if not line.first:
        model.embed = _Receive(line, config.hidden_size)  # type: ignore[assignment]
        if config.positions == "learned":
            del model.embed_positions
        if not (line.last and config.tie_word_embeddings):
            del model.embed_tokens
    if not line.last:
        model.norm = _Send(line)
        for head in ("lm_head", "score"):
            if hasattr(model, head):
                delattr(model, head)


def sum_tied(model: DecoderLM, line: Line) -> None:
    """Add up the gradients of an embedding that is also the head: first and last stage must step alike."""
    if not model.config.tie_word_embeddings or not (line.first or line.last):
        return
    other = line.ranks[-1 if line.first else 0]
    parameter = model.embed_tokens.weight
    if not parameter.requires_grad:
        return
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    grad = local(parameter.grad)
    theirs, mine = torch.empty_like(grad), grad.clone()
    ways = (line.onward, line.back) if line.first else (line.back, line.onward)
    sent = dist.isend(mine, other, group=ways[0])
    dist.recv(theirs, other, group=ways[1])
    if sent is not None:
        sent.wait()
    grad.add_(theirs)


class _Elsewhere(nn.Module):
    """A block that another stage runs."""

    def forward(self, x: Tensor, step: Any) -> Tensor:
        return x


class _Send(nn.Module):
    """Sends hidden states on; returns a scalar whose backward pass begins with the gradient that comes back."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self.line = line

    def forward(self, x: Tensor) -> Tensor:
        return _SendFunction.apply(_start(x.device), x, self.line)  # type: ignore[no-untyped-call]


class _Receive:
    """In the place of the embedding: hidden states from the stage before, whose gradient goes back there."""

    def __init__(self, line: Line, hidden_size: int) -> None:
        self.line, self.hidden_size = line, hidden_size

    def __call__(self, tokens: Tensor, positions: Tensor) -> Tensor:
        shape = (*tokens.shape, self.hidden_size)
        return _ReceiveFunction.apply(_start(tokens.device), self.line, shape)  # type: ignore[no-untyped-call]


def _start(device: torch.device) -> Tensor:
    """What makes autograd call a backward pass also where no weight before it is trained."""
    return torch.zeros((), device=device, requires_grad=True)


class _SendFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, start: Tensor, x: Tensor, line: Line) -> Tensor:  # type: ignore[override]
        line.send(x, 1)
        ctx.line, ctx.shape, ctx.dtype = line, x.shape, x.dtype
        return torch.zeros((), device=x.device)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None]:  # type: ignore[override]
        return None, ctx.line.receive(ctx.shape, 1, grads[0].device).to(ctx.dtype), None


class _ReceiveFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, start: Tensor, line: Line, shape: tuple[int, ...]) -> Tensor:  # type: ignore[override]
        ctx.line = line
        return line.receive(shape, -1, start.device)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, None]:  # type: ignore[override]
        ctx.line.send(grads[0], -1)
        return None, None, None
