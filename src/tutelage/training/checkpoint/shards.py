"""Sharded tensors on disk: each shard is written by one rank and can be read with any layout of ranks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor

from tutelage.store.errors import DamagedError
from tutelage.training.distributed.dtensor import local_shard


@dataclass(frozen=True)
class ShardInfo:
    """The location of a shard: file, offset in each dimension, size, and shape of the full tensor."""

    file: Path
    offset: tuple[int, ...]
    size: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: str


def copied_shards(tensors: dict[str, Tensor], mesh: DeviceMesh | None) -> dict[str, tuple[Tensor, list[int]]]:
    """CPU copies of the shards that this rank writes, with their offsets; every shard has one writer.

    `mesh` (None: one process) gives this rank's coordinate; pipeline stages hold different tensors.
    """
    shards = {}
    for name, tensor in tensors.items():
        if mesh is not None and not _writes(tensor, mesh):
            continue
        offset, size = local_range(tensor)
        if 0 not in size:
            shard = local_shard(tensor)
            shards[name] = (shard.detach().to("cpu", copy=True).contiguous(), list(offset))
    return shards


def local_range(tensor: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Offset and size of this rank's shard within the full tensor."""
    if isinstance(tensor, DTensor):
        chunk = tensor.__create_chunk_list__()[0]
        return tuple(chunk.offsets), tuple(chunk.sizes)
    return (0,) * tensor.dim(), tuple(tensor.shape)


def _writes(tensor: Tensor, mesh: DeviceMesh) -> bool:
    """Whether this is the first rank of its pipeline stage with this shard."""
    sharded = {"pipeline"}
    if isinstance(tensor, DTensor):
        dims = tensor.device_mesh.mesh_dim_names or ()
        sharded |= {name for name, at in zip(dims, tensor.placements, strict=True) if not at.is_replicate()}
    coordinate = mesh.get_coordinate()
    assert coordinate is not None
    return all(at == 0 for name, at in zip(mesh.mesh_dim_names or (), coordinate, strict=True) if name not in sharded)


def load_shard(target: Tensor, saved: list[ShardInfo], name: str) -> None:
    """Fill this rank's shard of `target` from the saved ones that overlap it. Raises DamagedError if one is missing."""
    offset, size = local_range(target)
    own = local_shard(target)
    if 0 in size:
        return
    filled = 0
    for info in saved:
        if info.shape != tuple(target.shape):
            raise DamagedError(f"{info.file} has {name} with shape {info.shape}, expected {tuple(target.shape)}")
        starts = [max(a, b) for a, b in zip(offset, info.offset, strict=True)]
        ends = [
            min(a + n, b + m) for a, n, b, m in zip(offset, size, info.offset, info.size, strict=True)
        ]  # fmt: skip
        if any(start >= end for start, end in zip(starts, ends, strict=True)):
            continue
        there = tuple(slice(s - b, e - b) for s, e, b in zip(starts, ends, info.offset, strict=True))
        here = tuple(slice(s - a, e - a) for s, e, a in zip(starts, ends, offset, strict=True))
        with safe_open(info.file, "pt") as file, torch.no_grad():
            values = file.get_slice(name)[there] if there else file.get_tensor(name)
            own[here].copy_(values)
            filled += values.numel()
    if filled != own.numel():
        raise DamagedError(f"a shard of {name} is missing from the checkpoint")
