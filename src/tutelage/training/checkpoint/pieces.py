"""Tensors on disk as pieces: each process writes what it alone holds; any arrangement of processes can read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor

from tutelage.store.errors import DamagedError


@dataclass(frozen=True)
class Place:
    """Where a piece lies: the file that holds it, its first index in each dimension, its size, the whole's shape."""

    file: Path
    offset: tuple[int, ...]
    size: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: str


def own_pieces(tensors: dict[str, Tensor], mesh: DeviceMesh | None) -> dict[str, tuple[Tensor, list[int]]]:
    """Copies on the CPU of the parts this process is to write, with their offsets: every part has one writer.

    `mesh` (None: one process) says where this process stands; stages of a pipeline hold different tensors.
    """
    pieces = {}
    for name, tensor in tensors.items():
        if mesh is not None and not _writes(tensor, mesh):
            continue
        offset, size = local_range(tensor)
        if 0 not in size:
            part = tensor.to_local() if isinstance(tensor, DTensor) else tensor
            pieces[name] = (part.detach().to("cpu", copy=True).contiguous(), list(offset))
    return pieces


def local_range(tensor: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Offset and size of this process's part within the whole tensor."""
    if isinstance(tensor, DTensor):
        chunk = tensor.__create_chunk_list__()[0]
        return tuple(chunk.offsets), tuple(chunk.sizes)
    return (0,) * tensor.dim(), tuple(tensor.shape)


def _writes(tensor: Tensor, mesh: DeviceMesh) -> bool:
    """Whether this is the first of the processes of its stage that hold the same part."""
    split = {"pipeline"}
    if isinstance(tensor, DTensor):
        dims = tensor.device_mesh.mesh_dim_names or ()
        split |= {name for name, at in zip(dims, tensor.placements, strict=True) if not at.is_replicate()}
    place = mesh.get_coordinate()
    assert place is not None
    return all(at == 0 for name, at in zip(mesh.mesh_dim_names or (), place, strict=True) if name not in split)


def read_into(target: Tensor, places: list[Place], name: str) -> None:
    """Fill this process's part of `target` from the pieces that overlap it. Raises DamagedError if some is missing."""
    offset, size = local_range(target)
    part = target.to_local() if isinstance(target, DTensor) else target
    if 0 in size:
        return
    filled = 0
    for place in places:
        if place.shape != tuple(target.shape):
            raise DamagedError(f"{place.file} holds {name} in shape {place.shape}, not {tuple(target.shape)}")
        starts = [max(a, b) for a, b in zip(offset, place.offset, strict=True)]
        ends = [
            min(a + n, b + m) for a, n, b, m in zip(offset, size, place.offset, place.size, strict=True)
        ]  # fmt: skip
        if any(start >= end for start, end in zip(starts, ends, strict=True)):
            continue
        there = tuple(slice(s - b, e - b) for s, e, b in zip(starts, ends, place.offset, strict=True))
        here = tuple(slice(s - a, e - a) for s, e, a in zip(starts, ends, offset, strict=True))
        with safe_open(place.file, "pt") as file, torch.no_grad():
            piece = file.get_slice(name)[there] if there else file.get_tensor(name)
            part[here].copy_(piece)
            filled += piece.numel()
    if filled != part.numel():
        raise DamagedError(f"a part of {name} is in no file of the checkpoint")
