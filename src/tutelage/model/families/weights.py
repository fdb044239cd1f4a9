"""Layouts of weights in checkpoints: renamed, transposed, fused, interleaved or stacked; all exactly invertible."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from tutelage.model.config import ModelConfig

if TYPE_CHECKING:  # reading a recipe must not import torch
    import torch
    from torch import Tensor

Tensors: TypeAlias = "Sequence[Tensor]"
Names = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Weight:
    """Some of our tensors and their counterparts in a checkpoint: `pack` converts ours to theirs, `unpack` back."""

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    pack: Callable[[Tensors], Tensors]
    unpack: Callable[[Tensors], Tensors]

    @property
    def only_renamed(self) -> bool:
        return self.pack is _unchanged


@lru_cache(maxsize=64)
def parameter_shapes(config: ModelConfig) -> dict[str, torch.Size]:
    """Names and shapes of all tensors in the state dict of a `DecoderLM`, without allocating it."""
    import torch

    from tutelage.model.decoder import DecoderLM

    with torch.device("meta"):
        return {name: value.shape for name, value in DecoderLM(config, seed=None).state_dict().items()}


def _unchanged(parts: Tensors) -> Tensors:
    return parts


def same(ours: str, theirs: str) -> Weight:
    return Weight((ours,), (theirs,), _unchanged, _unchanged)


def transposed(ours: str, theirs: str) -> Weight:
    """The last two dimensions swapped (GPT-2's Conv1D, GPT-OSS's experts)."""
    return Weight((ours,), (theirs,), lambda x: [x[0].mT], lambda x: [x[0].mT])


def fused(config: ModelConfig, ours: Sequence[str], theirs: str, transpose: bool = False) -> Weight:
    """Ours concatenated along the first dimension, then transposed if `transpose`."""
    sizes = [parameter_shapes(config)[name][0] for name in ours]

    def pack(parts: Tensors) -> Tensors:
        import torch

        whole = torch.cat(list(parts))
        return [whole.mT if transpose else whole]

    def unpack(parts: Tensors) -> Tensors:
        return (parts[0].mT if transpose else parts[0]).split(sizes)

    return Weight(tuple(ours), (theirs,), pack, unpack)


def fused_by_group(config: ModelConfig, ours: Sequence[str], theirs: str, groups: int) -> Weight:
    """Concatenated along the first dimension by group: the first group of each, then the second of each, ..."""
    sizes = [parameter_shapes(config)[name][0] // groups for name in ours]

    def pack(parts: Tensors) -> Tensors:
        import torch

        return [torch.cat([part.unflatten(0, (groups, -1)) for part in parts], dim=1).flatten(0, 1)]

    def unpack(parts: Tensors) -> Tensors:
        return [part.flatten(0, 1) for part in parts[0].unflatten(0, (groups, -1)).split(sizes, dim=1)]

    return Weight(tuple(ours), (theirs,), pack, unpack)


def alternating(ours: Sequence[str], theirs: str, transpose: bool = False) -> Weight:
    """Two of ours interleaved along dimension 1 (GPT-OSS's gate and up), then transposed if `transpose`."""

    def pack(parts: Tensors) -> Tensors:
        import torch

        whole = torch.stack(list(parts), dim=2).flatten(1, 2)
        return [whole.mT if transpose else whole]

    def unpack(parts: Tensors) -> Tensors:
        whole = parts[0].mT if transpose else parts[0]
        return [whole[:, 0::2], whole[:, 1::2]]

    return Weight(tuple(ours), (theirs,), pack, unpack)


def stacked(ours: str, theirs: Iterable[str]) -> Weight:
    """One of ours is a stack of several of theirs (experts)."""

    def unpack(parts: Tensors) -> Tensors:
        import torch

        return [torch.stack(list(parts))]

    return Weight((ours,), tuple(theirs), lambda x: x[0].unbind(0), unpack)


def renamed(config: ModelConfig, names: Names, done: Iterable[Weight] = ()) -> Iterator[Weight]:
    """The weights of `done`, and all others under new names. names: substitutions (ours, theirs), applied in turn;
    those that do not begin with a dot apply to the beginning of a name only."""
    seen: set[str] = set()
    for weight in done:
        seen.update(weight.ours)
        yield weight
    for name in parameter_shapes(config):
        if name in seen:
            continue
        theirs = name
        for part, other in names:
            if part.startswith("."):
                theirs = theirs.replace(part, other)
            elif theirs.startswith(part):
                theirs = other + theirs[len(part) :]
        yield same(name, theirs)
