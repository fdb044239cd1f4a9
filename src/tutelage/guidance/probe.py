"""Measure the cost of a model on this machine with a few real steps on random tokens: seconds and bytes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from tutelage.guidance.footprint import Rise
from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.describe import forward_flops, parameters
from tutelage.model.lora import add_lora, is_quantised, lora_layers
from tutelage.store.device import available_memory, choose_device, choose_precision, set_threads
from tutelage.training.blocks import prepared
from tutelage.training.config import TrainingConfig
from tutelage.training.cross_entropy import chunk_sizes
from tutelage.training.data.batch import Batch
from tutelage.training.objective import summed_nll
from tutelage.training.optim.optimizers import freeze, make_optimizers

SECONDS = 0.5  # of repeated steps, after a warm-up step
STEP_FLOPS = 2.5e11  # limit on a measured step: half a second on two CPU cores
MOST_TOKENS, FEWEST_TOKENS = 2048, 64
DOCUMENT_TOKENS = 64  # per document in a row
SCORED_TOKENS = 1024
GENERATED_ROWS, GENERATED_TOKENS, PROMPT_TOKENS = 48, 16, 24  # batch size, as in evaluation
FIRST_TIMES = 3  # factor on the limit for the first step, which measures memory
MERGED_SHARD_BYTES = 5e8  # of a 4-bit model: dequantised bytes in memory while it is merged and written
# Factors if resident memory cannot be measured: at the peak of a backward pass, gradients of activations exist in
# addition to stored activations; and repeated allocation leads to fragmentation.
WHILE_BACKWARD = 1.3
GAPS = 1.25


@dataclass(frozen=True)
class Cost:
    """Seconds per token, and bytes in addition to the process.

    `fixed`: weights, gradients, optimizer states and the copy of them for writing a checkpoint. `passing`: at the peak
    of a step: `activations` kept by autograd, some gradients of them, logits, fragmentation. For a model on a GPU only
    host memory counts.
    """

    seconds: float
    fixed: float = 0.0
    passing: float = 0.0
    activations: float = 0.0

    @property
    def memory(self) -> float:
        return self.fixed + self.passing


def measurable(model: ModelConfig) -> tuple[ModelConfig, float]:
    """The model, or one with fewer layers if memory is insufficient, and the ratio of their costs."""
    room, cut = available_memory() / 2, model
    while 16 * sum(parameters(cut).values()) > room and cut.num_layers > 1:
        cut = ModelConfig.parse({**cut.plain(), "num_layers": cut.num_layers // 2})
    return cut, forward_flops(model, 128) / forward_flops(cut, 128)


def training_cost(
    whole: ModelConfig, context: int, settings: TrainingConfig, trained_share: float, lora: Any = None,
    seconds: float = SECONDS,
) -> Cost:  # fmt: skip
    """Cost per token in training: forward, backward and its part of the update, in the precision of the run.

    Without compilation, which takes too long for a forecast. Steps are repeated for `seconds`.
    """
    config, times = measurable(whole)
    set_threads(settings.threads)
    device = choose_device(settings.device)
    dtype = choose_precision(settings.precision, device)
    microbatch = max(1, settings.batch_rows // settings.accumulation)
    batch = _random_batch(config, context, microbatch, trained_share).to(device)
    large = _random_batch(config, context, microbatch, trained_share, FIRST_TIMES).to(device)
    rise = Rise(device, lora is not None and lora.quantisation != "none")
    model = DecoderLM(config, seed=0)
    if lora:
        add_lora(model, lora, 0)
    freeze(model, settings.freeze_blocks)
    model.to(device).train()
    optimizers = make_optimizers(model, settings, dtype)
    computing: list[float] = []
    updating: list[float] = []
    kept, end = 0, float("inf")
    lower = "float32" if dtype == torch.float32 else "bfloat16"
    with prepared(model, settings.model_copy(update={"compile": False, "precision": lower})):
        copies = sum(one.cast_weight.nbytes for one in lora_layers(model).values() if one.cast_weight is not None)
        while len(computing) < 2 or time.perf_counter() < end:
            begin = time.perf_counter()
            first = not computing
            with (
                torch.autocast(device.type, dtype, enabled=dtype != torch.float32),
                _SavedTensors(model, first) as storages,
            ):
                total, _, _ = summed_nll(model, large if first else batch)
            kept = kept or sum(storages.values())
            total.backward()  # type: ignore[no-untyped-call]
            _wait(device)
            between = time.perf_counter()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            _wait(device)
            computing.append(between - begin)
            updating.append(time.perf_counter() - between)
            end = time.perf_counter() + seconds if first else end
    risen = rise.bytes()
    tokens, step = batch.tokens.numel(), settings.batch_rows * context
    per_token = times * (_median(computing[1:]) / tokens + _median(updating[1:]) / step)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    states = sum(
        value.numel() * value.element_size()
        for optimizer in optimizers
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    )
    weights = float(sum(parameter.numel() * parameter.element_size() for parameter in model.parameters()))
    during = 4.0 * trained + states + weights + copies
    # The weights are in memory twice while a model is loaded or saved; 4-bit ones are loaded and saved one by one.
    whole_bytes = 4.0 * sum(parameters(config).values())
    twice = weights + (min(whole_bytes, MERGED_SHARD_BYTES) if is_quantised(model) else weights)
    copied = 4.0 * trained + states  # from which a checkpoint is written while training continues
    if device.type != "cpu":  # the rest is in device memory
        return Cost(per_token, times * (twice + copied))
    fixed = max(twice, during + copied)
    passing = WHILE_BACKWARD * kept if risen is None else max(kept, risen - during)
    wanted, counted = microbatch * context, large.tokens.numel()
    passing = _scaled(passing, counted, wanted, config.vocab_size, trained_share, dtype)
    if risen is None:
        fixed, passing = GAPS * fixed, GAPS * (passing + loss_bytes(wanted * trained_share, config.vocab_size, dtype))
    return Cost(per_token, times * fixed, times * passing, times * kept * wanted / counted)


def loss_bytes(targets: float, vocabulary: int, dtype: torch.dtype) -> float:
    """Bytes of the logits of a chunk and of the gradients of a group (training/cross_entropy.py), on a CPU."""
    rows, group = chunk_sizes(max(1, round(targets)), vocabulary, on_gpu=False)
    return float(4 * group * vocabulary if dtype == torch.float32 else (2 * group + 4 * rows) * vocabulary)


def _scaled(passing: float, tokens: int, wanted: int, vocabulary: int, share: float, dtype: torch.dtype) -> float:
    """Bytes of a step of `wanted` tokens, from those of a step of `tokens`: logits come in chunks, the rest is
    proportional."""
    logits = loss_bytes(share * tokens, vocabulary, dtype)
    return max(0.0, passing - logits) * wanted / tokens + loss_bytes(share * wanted, vocabulary, dtype)


def scoring_cost(whole: ModelConfig) -> Cost:
    """Cost per token in evaluation: float32, batches of short texts."""
    config, times = measurable(whole)
    set_threads(0)
    model = DecoderLM(config, seed=0).to(choose_device()).eval()
    context = min(128, config.max_position_embeddings)
    rows = max(1, min(SCORED_TOKENS, int(STEP_FLOPS / forward_flops(config, context))) // context)
    tokens = torch.randint(0, config.vocab_size, (rows, context), device=next(model.parameters()).device)
    took: list[float] = []
    end = float("inf")
    with torch.no_grad():
        while len(took) < 2 or time.perf_counter() < end:
            begin = time.perf_counter()
            model(tokens)[0, 0, 0].item()
            took.append(time.perf_counter() - begin)
            end = time.perf_counter() + SECONDS / 2 if len(took) == 1 else end
    return Cost(times * _median(took[1:]) / tokens.numel())


def decoding_cost(whole: ModelConfig) -> Cost:
    """Cost per generated token with the inference engine, prompts included: batches with a cache, float32."""
    from tutelage.inference.decoding import generate_ids
    from tutelage.inference.sampling import Sampling

    config, times = measurable(whole)
    set_threads(0)
    model = DecoderLM(config, seed=0).to(choose_device()).eval()
    longest = config.max_position_embeddings
    begin_with = min(PROMPT_TOKENS, longest // 2)
    count = max(2, min(GENERATED_TOKENS, longest - begin_with))
    prompts = torch.randint(0, config.vocab_size, (GENERATED_ROWS, begin_with)).tolist()
    sampling = Sampling(max_tokens=count, temperature=0.0)
    generate_ids(model, prompts[:2], Sampling(max_tokens=2, temperature=0.0), [])  # warms up
    begin = time.perf_counter()
    generate_ids(model, prompts, sampling, [])
    return Cost(times * (time.perf_counter() - begin) / (GENERATED_ROWS * count))


def _random_batch(
    config: ModelConfig, context: int, microbatch: int, trained_share: float, times: int = 1
) -> Batch:  # fmt: skip
    """A random microbatch within `times` the budget of tokens; a single shorter row if one row exceeds it."""
    flops = 3 * forward_flops(config, context)
    budget = max(FEWEST_TOKENS, times * min(MOST_TOKENS, int(STEP_FLOPS / flops)))
    rows = max(1, min(microbatch, budget // context))
    length = context if rows > 1 else min(context, max(budget, FEWEST_TOKENS))
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, config.vocab_size, (rows, length), generator=draw)
    weights = (torch.rand(rows, length, generator=draw) < trained_share).float()
    weights[:, -1] = 1.0
    place = torch.arange(length).expand(rows, length)
    # Several per row, as in packed data, which requires an attention mask.
    size = min(DOCUMENT_TOKENS, max(1, length // 2))
    return Batch(tokens, place % size, place // size + 1, tokens, weights)


class _SavedTensors:
    """Context manager that records the tensors saved for backward, except weights: storage -> bytes."""

    def __init__(self, model: DecoderLM, wanted: bool) -> None:
        self.weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        self.storages: dict[int, int] = {}
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor) if wanted else None

    def _pack(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.weights:
            self.storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    def __enter__(self) -> dict[int, int]:
        if self.hooks:
            self.hooks.__enter__()
        return self.storages

    def __exit__(self, *about: Any) -> None:
        if self.hooks:
            self.hooks.__exit__(*about)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
