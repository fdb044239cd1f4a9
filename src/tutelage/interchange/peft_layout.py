"""Map our matrices to the modules of transformers that adapters attach to: single, fused, or stacked experts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from tutelage.model.config import ModelConfig
from tutelage.model.families import FAMILIES
from tutelage.model.families.weights import Weight, parameter_shapes
from tutelage.model.lora_layers import Adapter
from tutelage.store.errors import InputError


@dataclass(frozen=True)
class Site:
    """A module of transformers, or a parameter with a matrix per expert, and our matrices that it consists of.

    name: of the module (`model.layers.0.self_attn.qkv_proj`) or parameter (`model.layers.0.mlp.experts.down_proj`).
    rows: number of rows of each of our matrices. order: index into our concatenated rows, for each row of theirs.
    experts: number of experts; 0 for a module. transposed: whether transformers stores the transpose (GPT-2's Conv1D).
    """

    name: str
    paths: tuple[str, ...]
    rows: tuple[int, ...]
    columns: int
    order: tuple[int, ...]
    experts: int = 0
    transposed: bool = False

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Their matrix [..., rows, n] from ours [..., rows of each, n]."""
        return torch.cat(list(parts), dim=-2)[..., list(self.order), :]

    def split(self, whole: Tensor) -> tuple[Tensor, ...]:
        """Our matrices from theirs; the inverse of `join`."""
        back = torch.empty(len(self.order), dtype=torch.int64)
        back[list(self.order)] = torch.arange(len(self.order))
        return whole[..., back, :].split(self.rows, dim=-2)

    def shapes(self, adapter: Adapter) -> dict[str, tuple[int, ...]]:
        """Shapes of PEFT's tensors; experts are concatenated along the rank."""
        wide, outputs = adapter.rank * max(1, self.experts), sum(self.rows)
        found: dict[str, tuple[int, ...]] = {"lora_A": (wide, self.columns), "lora_B": (outputs, wide)}
        return {**found, "lora_magnitude": (outputs,)} if adapter.dora else found


def sites(config: ModelConfig) -> dict[str, Site]:
    """All sites by name. Weights whose layout does not keep rows intact have no site."""
    found = [*_modules(config), *_experts(config)]
    return {site.name: site for site in found}


def require_sites(config: ModelConfig, paths: Sequence[str]) -> dict[str, Site]:
    """The site of each of our paths. Raises InputError for a path without one, whose adapter PEFT cannot express."""
    of = {path: site for site in sites(config).values() for path in site.paths}
    for path in paths:
        if path not in of:
            raise InputError(
                f"{path} does not correspond to a module, or rows of one, in Hugging Face's {config.family}",
                hint="choose other targets: an adapter on it cannot be exchanged with PEFT",
            )
    return {path: of[path] for path in paths}


def joined(
    site: Site, adapters: Mapping[str, Adapter], state: Mapping[str, Tensor]
) -> tuple[Adapter, dict[str, Tensor]]:
    """One adapter on the site from those on (some of) its matrices: A stacked, B block-diagonal.

    It is equivalent; its rank is the sum of theirs. Returns its settings and its tensors in PEFT's layout. Raises
    InputError for DoRA on a part of a fused module.
    """
    there = [path for path in site.paths if path in adapters]
    first = adapters[there[0]]
    if first.dora and len(there) < len(site.paths):
        raise InputError(
            f"{site.name} is one module in transformers; dora on a part of it is not dora on the whole",
            hint=f"target all of {', '.join(path.rpartition('.')[2] for path in site.paths)} as targets, or none",
        )
    rank = sum(adapters[path].rank for path in there)
    down = torch.cat([state[f"{path}.lora_A"] for path in there], dim=-2)
    parts, column = [], 0
    for path, rows in zip(site.paths, site.rows, strict=True):
        part = down.new_zeros(*down.shape[:-2], rows, rank)
        if path in adapters:
            up, one = state[f"{path}.lora_B"], adapters[path]
            # B absorbs a difference of scales.
            part[..., column : column + one.rank] = up if one.scale == first.scale else up * (one.scale / first.scale)
            column += one.rank
        parts.append(part)
    up = site.join(parts)
    if site.experts:
        down, up = down.flatten(0, 1), up.permute(1, 2, 0).flatten(1)
    tensors = {"lora_A": down, "lora_B": up}
    if first.dora:
        tensors["lora_magnitude"] = site.join([state[f"{path}.lora_magnitude"][:, None] for path in site.paths])[:, 0]
    alpha = first.alpha if len(there) == 1 else first.scale * (sqrt(rank) if first.rslora else rank)
    return Adapter(rank, alpha, first.dropout, first.rslora, first.dora), tensors


def parted(site: Site, adapter: Adapter, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Adapter], dict[str, Tensor]]:
    """Adapters on our matrices, and their tensors by our names, from one on the site; the inverse of `joined`.

    In a fused module each matrix keeps only the ranks that affect it.
    """
    down, up = tensors["lora_A"], tensors["lora_B"]
    if site.experts:
        down = down.unflatten(0, (site.experts, adapter.rank))
        up = up.unflatten(1, (adapter.rank, site.experts)).permute(2, 0, 1)
    adapters: dict[str, Adapter] = {}
    state: dict[str, Tensor] = {}
    for path, part in zip(site.paths, site.split(up), strict=True):
        acts = (part != 0).flatten(0, -2).any(0)
        one, used = adapter, torch.arange(adapter.rank)
        if len(site.paths) > 1 and 0 < int(acts.sum()) < adapter.rank:
            used = acts.nonzero()[:, 0]
            alpha = adapter.scale * (sqrt(len(used)) if adapter.rslora else len(used))
            one = Adapter(len(used), alpha, adapter.dropout, adapter.rslora, adapter.dora)
        adapters[path] = one
        state[f"{path}.lora_A"], state[f"{path}.lora_B"] = down[..., used, :], part[..., used]
    if adapter.dora:
        for path, part in zip(site.paths, site.split(tensors["lora_magnitude"][:, None]), strict=True):
            state[f"{path}.lora_magnitude"] = part[:, 0]
    return adapters, state


def _modules(config: ModelConfig) -> Iterator[Site]:
    shapes = parameter_shapes(config)
    for weight in FAMILIES[config.family].weights(config):
        ours = [shapes[name] for name in weight.ours]
        if len(weight.theirs) != 1 or any(
            len(shape) != 2 or not name.endswith(".weight") for name, shape in zip(weight.ours, ours, strict=True)
        ):
            continue
        order = _row_order(weight, ours)
        if order:
            paths = tuple(name.removesuffix(".weight") for name in weight.ours)
            rows = tuple(shape[0] for shape in ours)
            yield Site(weight.theirs[0].removesuffix(".weight"), paths, rows, ours[0][1], order[0], transposed=order[1])


def _experts(config: ModelConfig) -> Iterator[Site]:
    """transformers 5 stores the experts of a layer in two parameters, whatever the layout of its checkpoints."""
    if config.experts is None or not config.gated:
        return
    shapes = parameter_shapes(config)
    weights = {name: weight for weight in FAMILIES[config.family].weights(config) for name in weight.ours}
    for layer in range(config.num_layers):
        if not config.has_experts(layer):
            continue
        ours, theirs = f"layers.{layer}.mlp", f"model.layers.{layer}.mlp.experts"
        for leaf, names in (("gate_up_proj", ("gate_proj", "up_proj")), ("down_proj", ("down_proj",))):
            paths = tuple(f"{ours}.{name}" for name in names)
            rows = tuple(shapes[path][1] for path in paths)
            weight, order = weights[paths[0]], tuple(range(sum(rows)))
            if len(weight.ours) > 1:
                order = (_row_order(weight, [shapes[path] for path in paths]) or (order, False))[0]
            yield Site(f"{theirs}.{leaf}", paths, rows, shapes[paths[0]][2], order, shapes[paths[0]][0])


def _row_order(weight: Weight, shapes: Sequence[torch.Size]) -> tuple[tuple[int, ...], bool] | None:
    """Our row for each row of theirs, and whether theirs is transposed; None if rows are not kept intact."""
    parts, first = [], 0
    for shape in shapes:
        rows = shape[-2]
        numbers = torch.arange(first, first + rows)[:, None].expand(rows, 3)
        parts.append(numbers.expand(*shape[:-2], rows, 3).clone())
        first += rows
    (packed,) = weight.pack(parts)
    for transposed, whole in ((False, packed), (True, packed.mT)):
        matrix = whole.reshape(-1, *whole.shape[-2:])[0]
        if matrix.shape == (first, 3) and bool((matrix == matrix[:, :1]).all()):
            return tuple(matrix[:, 0].tolist()), transposed
    return None
