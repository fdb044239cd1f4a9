"""Plan a pretraining run on many GPUs: mesh, batch, traffic, checkpoints, failures, days.

Every number has a source; everything that depends on the machine is in `Gpu` and `Cluster` and can be replaced by
measured values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from tutelage.model.config import ModelConfig
from tutelage.model.describe import forward_flops, parameters
from tutelage.store.errors import ConfigError
from tutelage.training.memory import activation_values

# 419 unexpected interruptions in 54 days on 16,384 GPUs (Llama 3, Dubey et al. 2024, table 5).
HOURS_PER_FAILURE = 54 * 24 * 16384 / 419
TOKENS_PER_PARAMETER = 20  # Hoffmann et al. 2022, table 3
MEMORY_SHARE = 0.8  # share of a GPU's memory in the plan; the rest is for fragmentation and buffers


@dataclass(frozen=True)
class Gpu:
    """One GPU and its interconnect. FLOP/s dense bfloat16; bytes; bytes/s each way, inside a node and between nodes."""

    name: str = "H100 SXM"
    flops: float = 989e12
    memory: float = 80e9
    node_bandwidth: float = 450e9  # NVLink 4
    network_bandwidth: float = 50e9  # one 400 Gb/s port per GPU
    per_node: int = 8


@dataclass(frozen=True)
class Cluster:
    """Assumptions of a plan besides the GPU: MFU, checkpoint bandwidth, time of a restart."""

    mfu: float = 0.40  # 38 to 43 % at 8,192 to 16,384 H100 (Llama 3, table 4)
    to_host: float = 20e9  # bytes/s of a copy from GPU to host memory, which training waits for
    storage: float = 2e9  # bytes/s of one node to shared storage, in the background
    restart_seconds: float = 600.0


def batch_tokens(total: int) -> float:
    """Tokens per step for a model of `total` parameters: 2048 * 160 * (N / 108M)^(2/3) (OLMo's ladder)."""
    return float(2048 * 160 * (total / 108e6) ** (2 / 3))


def checkpoint_interval(stall: float, between_failures: float) -> float:
    """Optimal seconds between checkpoints: sqrt(2 * stall * mean time between failures) (Young 1974)."""
    return math.sqrt(2 * stall * between_failures)


def plan_cluster(
    config: ModelConfig, gpus: int, context: int, tokens: float = 0.0, gpu: Gpu | None = None,
    cluster: Cluster | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The whole plan as plain data; seconds, bytes, tokens. `tokens` 0: 20 per parameter.

    Weights, gradients and AdamW's two states are float32 and sharded over `shard` ranks; weights are gathered in
    bfloat16, gradients reduced in float32. Activation checkpointing is on. `traffic_share` assumes no overlap of
    communication with computation. Raises ConfigError if the model does not fit.
    """
    gpu, cluster = gpu or Gpu(), cluster or Cluster()
    total = sum(parameters(config).values())
    tokens = tokens or TOKENS_PER_PARAMETER * total
    shard, rows, memory = _shards(config, total, gpus, context, gpu)
    replicate = gpus // shard

    microbatch = gpus * rows * context  # tokens, over all GPUs
    accumulation = max(1, round(batch_tokens(total) / microbatch))
    step_tokens = microbatch * accumulation
    flops = 3 * forward_flops(config, context)
    step_seconds = step_tokens * flops / (gpus * gpu.flops * cluster.mfu)

    inside = shard <= gpu.per_node
    width = gpu.node_bandwidth if inside else gpu.network_bandwidth
    # Each microbatch gathers the weights twice (forward, backward) in bfloat16 and reduce-scatters float32 gradients.
    gathered = (2 + 2 + 4) * total * (shard - 1) / shard * accumulation
    # Replicas all-reduce their shards of the gradient, also once per microbatch.
    summed = 2 * 4 * total / shard * (replicate - 1) / replicate * accumulation
    traffic = gathered / width + summed / gpu.network_bandwidth

    between = HOURS_PER_FAILURE * 3600 / gpus
    checkpoint = 12 * total  # weights and two states, float32
    stall = checkpoint / shard / cluster.to_host  # only the first replica writes; each of its ranks copies its shard
    written = checkpoint / (cluster.storage * max(1, shard // gpu.per_node))
    interval = max(checkpoint_interval(stall, between), written)
    lost = stall / interval + (interval / 2 + cluster.restart_seconds) / between
    if lost >= 1:
        raise ConfigError(
            f"with a failure every {between / 60:.0f} minutes, {gpus} GPUs would make no progress",
            hint="use fewer GPUs, or a shorter restart (Cluster.restart_seconds)",
        )
    seconds = tokens / step_tokens * step_seconds
    return {
        "gpus": gpus, "gpu": gpu.name, "parameters": total, "tokens": round(tokens), "context": context,
        "mesh": {"replicate": replicate, "shard": shard, "tensor": 1, "pipeline": 1},
        "rows_per_gpu": rows, "accumulation": accumulation, "step_tokens": step_tokens,
        "steps": round(tokens / step_tokens), "memory_per_gpu": round(memory), "step_seconds": step_seconds,
        "traffic_per_gpu_and_step": round(gathered + summed), "traffic_share": traffic / step_seconds,
        "hours_between_failures": between / 3600, "failures": (seconds / (1 - lost)) / between,
        "checkpoint_bytes": checkpoint, "checkpoint_stall_seconds": stall, "checkpoint_write_seconds": written,
        "checkpoint_interval_seconds": interval, "lost_share": lost,
        "days": seconds / (1 - lost) / 86400, "gpu_hours": seconds / (1 - lost) / 3600 * gpus,
    }  # fmt: skip


def _shards(config: ModelConfig, total: int, gpus: int, context: int, gpu: Gpu) -> tuple[int, int, float]:
    """(ranks that share one copy of the weights, rows per microbatch and GPU, bytes per GPU).

    As few ranks as possible: weights that do not fit in one node are sent over the network in every microbatch.
    """
    room = MEMORY_SHARE * gpu.memory
    token = 2 * (config.num_layers * config.hidden_size + activation_values(config) + 2 * config.hidden_size)
    block = 2 * total / config.num_layers  # the current block, gathered, and the next one, prefetched
    logits = 3 * 4 * 128 * config.vocab_size
    if gpus > gpu.per_node and gpus % gpu.per_node:
        raise ConfigError(
            f"{gpus} GPUs are not a multiple of {gpu.per_node}, the size of a node", hint="use a multiple"
        )
    smallest = min(gpus, gpu.per_node)
    for shard in [size for size in range(smallest, gpus + 1, smallest) if gpus % size == 0]:
        fixed = 16 * total / shard + 2 * block + logits
        if fixed + token * context <= room:
            wanted = max(1, int(batch_tokens(total) / gpus / context))
            rows = min(wanted, int((room - fixed) / (token * context)))
            return shard, rows, fixed + rows * token * context
    raise ConfigError(
        f"one row of {context} tokens does not fit on {gpus} GPUs of {gpu.memory / 1e9:.0f} GB",
        hint="use more GPUs (a multiple of 8), a shorter context_length, or tensor parallelism",
    )
