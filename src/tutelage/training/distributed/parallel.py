"""One model on several ranks, by FSDP2 and DTensor: data, sharded, hybrid, tensor and pipeline parallelism.

The model code is unaware of it. The device mesh is (pipeline, replicate, shard, tensor): `fully_shard` over the middle
two is DDP with shard 1, FSDP with replicate 1 and hybrid sharding in between; DTensor's parallel styles use the last.
"""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.experts import MixtureOfExperts
from tutelage.model.lora import is_quantised, lora_layers
from tutelage.store.errors import ConfigError
from tutelage.training.config import ParallelConfig
from tutelage.training.distributed.dtensor import local_shard
from tutelage.training.distributed.pipeline import TIED, PipelineStage, keep_stage, make_pipeline_stage, stage_of
from tutelage.training.distributed.world import World
from tutelage.training.float8 import use_float8


@dataclass(frozen=True)
class Layout:
    """The layout of a run's ranks. `data_rank` of `data_size`: the rows of each batch that this rank computes;
    `pipeline`: its pipeline stage, if any."""

    data_rank: int = 0
    data_size: int = 1
    mesh: DeviceMesh | None = None
    pipeline: PipelineStage | None = None

    @property
    def stages(self) -> int:
        return len(self.pipeline.ranks) if self.pipeline else 1

    @property
    def last_stage(self) -> bool:
        return self.pipeline is None or self.pipeline.last

    def duplicate(self, name: str) -> bool:
        """Whether the weight of that name is this rank's copy of a weight in an earlier pipeline stage."""
        return self.pipeline is not None and not self.pipeline.first and name == TIED


def arrange(config: ParallelConfig, world: World, device: torch.device) -> Layout:
    """Build the device mesh of `config`. Raises ConfigError if the world size does not fit."""
    if world.size == 1:
        if config.tensor > 1 or config.shard > 1 or config.pipeline > 1:
            raise ConfigError(
                "training.parallel requires several processes, but there is one",
                hint="start them with `tutelage run --nproc N` or torchrun",
            )
        return Layout()
    for name, size in (("tensor", config.tensor), ("pipeline", config.pipeline)):
        if world.size % size:
            raise ConfigError(f"training.parallel.{name} ({size}) does not divide {world.size} processes")
    data, remainder = divmod(world.size, config.tensor * config.pipeline)
    if remainder:
        raise ConfigError(
            f"training.parallel.tensor ({config.tensor}) times pipeline ({config.pipeline}) does not divide "
            f"{world.size} processes"
        )
    shard = config.shard or data
    if data % shard:
        raise ConfigError(
            f"training.parallel.shard ({shard}) does not divide the {data} data-parallel processes",
            hint="0 shards over all of them, 1 keeps a full copy in each",
        )
    mesh = init_device_mesh(
        device.type,
        (config.pipeline, data // shard, shard, config.tensor),
        mesh_dim_names=("pipeline", "replicate", "shard", "tensor"),
    )
    return Layout(world.rank // config.tensor % data, data, mesh, make_pipeline_stage(mesh, world.rank))


def shard_model(
    model: DecoderLM, layout: Layout, device: torch.device, dtype: torch.dtype, float8: bool = False
) -> DecoderLM:
    """The model to train: `model` itself in one process (with `float8` a copy), else a copy sharded over the mesh.

    Every rank must have the same `model`, which is unchanged until `gather_model`. If autocast uses `dtype`, weights
    are all-gathered in it; gradients are reduced in float32.
    """
    if layout.mesh is None and not float8:
        return model.to(device)
    if is_quantised(model):
        raise ConfigError("4-bit weights (QLoRA) are only supported in one process", hint="remove lora.quantisation")
    whole = copy.deepcopy(model)
    if layout.pipeline:
        keep_stage(whole, layout.pipeline)
    if float8:
        use_float8(whole, emulate=device.type == "cpu")
    whole = whole.to(device)
    if layout.mesh is None:
        return whole
    if layout.mesh["tensor"].size() > 1:
        _apply_tensor_parallel(whole, layout.mesh["tensor"])
    policy = MixedPrecisionPolicy(
        param_dtype=None if dtype == torch.float32 else dtype, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    data = layout.mesh["replicate", "shard"]
    for block in whole.layers:
        if any(True for _ in block.parameters()):  # not in another pipeline stage
            fully_shard(block, mesh=data, mp_policy=policy)
    fully_shard(whole, mesh=data, mp_policy=policy)
    for module in whole.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)  # sums: the loop divides by the weight of the full step
            module.set_force_sum_reduction_for_comms(True)  # gloo supports no other reduction
    register_fsdp_forward_method(whole, "hidden")
    return whole


@torch.no_grad()
def gather_model(model: DecoderLM, trained: DecoderLM, layout: Layout) -> None:
    """All-gather the trained weights into `model` on every rank."""
    if model is trained:
        return
    own = trained.state_dict()
    for name, target in model.state_dict().items():
        if name in own and not layout.duplicate(name):
            value = own[name]
            target.copy_(value.full_tensor() if isinstance(value, DTensor) else value)
        if layout.pipeline:
            there = layout.pipeline.ranks[stage_of(name, model.config, layout.stages)]
            value = target.to(next(trained.parameters()).device)
            dist.broadcast(value, src=there, group=layout.pipeline.forward_group)
            target.copy_(value)


def sum_tensor_parallel(model: DecoderLM, layout: Layout) -> None:
    """All-reduce the gradients of replicated weights that each tensor-parallel rank applies only to its own heads."""
    if layout.mesh is None or layout.mesh["tensor"].size() == 1:
        return
    group = layout.mesh["tensor"].get_group()
    for name, parameter in model.named_parameters():
        if name.endswith(("q_norm.weight", "k_norm.weight")) and parameter.grad is not None:
            dist.all_reduce(local_shard(parameter.grad), group=group)


def sum_expert_loads(model: DecoderLM, layout: Layout) -> None:
    """All-reduce the token count of each expert, so that all ranks apply the same balancing update."""
    if layout.mesh is None:
        return
    for module in model.modules():
        if isinstance(module, MixtureOfExperts) and module.load is not None:
            for dim in ("replicate", "shard"):
                dist.all_reduce(module.load, group=layout.mesh[dim].get_group())


def total_norm(tensors: Sequence[Tensor]) -> float:
    """Global L2 norm over all tensors and all ranks' shards."""
    if not any(isinstance(tensor, DTensor) for tensor in tensors):
        return float(torch.nn.utils.get_total_norm(tensors))
    total = 0.0
    groups: dict[tuple[str, ...], list[Tensor]] = defaultdict(list)
    mesh = next(tensor.device_mesh for tensor in tensors if isinstance(tensor, DTensor))
    for tensor in tensors:
        sharded: tuple[str, ...] = ()
        if isinstance(tensor, DTensor):
            names = tensor.device_mesh.mesh_dim_names or ()
            sharded = tuple(name for name, at in zip(names, tensor.placements, strict=True) if not at.is_replicate())
        groups[sharded].append(local_shard(tensor))
    root = mesh._get_root_mesh() if hasattr(mesh, "_get_root_mesh") else mesh
    for sharded, shards in groups.items():
        square = torch.nn.utils.get_total_norm(shards).double().square()
        for name in sharded:
            dist.all_reduce(square, group=root[name].get_group())
        total += float(square)
    return math.sqrt(total)


def _apply_tensor_parallel(model: DecoderLM, mesh: DeviceMesh) -> None:
    """Tensor parallelism inside each block: heads and feed-forward columns are sharded, one all-reduce per residual
    branch (Shoeybi et al. 2019, section 3). Embedding, head and norms stay replicated."""
    _check_tensor_parallel(model, mesh.size())
    columns, rows = ColwiseParallel(), RowwiseParallel()
    plan = {
        "attention.q_proj": columns, "attention.k_proj": columns, "attention.v_proj": columns,
        "attention.o_proj": rows, "mlp.gate_proj": columns, "mlp.up_proj": columns, "mlp.down_proj": rows,
    }  # fmt: skip
    for block in model.layers:
        there = dict(block.named_modules())
        if len(there) > 1:  # not in another pipeline stage
            parallelize_module(block, mesh, {name: style for name, style in plan.items() if name in there})


def _check_tensor_parallel(model: DecoderLM, size: int) -> None:
    config: ModelConfig = model.config
    if any(type(module).__name__ == "Float8Linear" for module in model.modules()):
        raise ConfigError("tensor parallelism does not support float8", hint="use training.parallel.shard instead")
    if config.num_heads % size or config.num_kv_heads % size or config.intermediate_size % size:
        raise ConfigError(
            f"training.parallel.tensor ({size}) must divide num_heads ({config.num_heads}), num_kv_heads "
            f"({config.num_kv_heads}) and intermediate_size ({config.intermediate_size})"
        )
    not_supported = {
        "latent attention": config.latent is not None,
        "the gated delta rule": any(config.layer_type(layer) == "delta" for layer in range(config.num_layers)),
        "experts": config.experts is not None,
        "attention sinks": config.attention_sinks,
        "an attention gate": config.attention_gate,
        "norms over all heads": config.qk_norm == "layer",
        "ALiBi": config.positions == "alibi",
        "adapters": bool(lora_layers(model)),
    }
    for feature, there in not_supported.items():
        if there:
            raise ConfigError(
                f"tensor parallelism does not support {feature}", hint="use training.parallel.shard instead"
            )
