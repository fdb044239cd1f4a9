"""What the finetuning methods share: rows of a task, the context, the model directory they leave."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from tutelage.finetuning.data import Audit
from tutelage.interchange.peft import hf_names, save_adapter
from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.io import keep_generation_settings, save_model
from tutelage.model.lora import LoraConfig, add_lora, lora_layers, merge_lora
from tutelage.store.device import choose_device, choose_precision
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.files import write_atomic
from tutelage.tasks import Examples, Task
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.config import TrainingConfig
from tutelage.training.loop import TrainResult


def read_corpus(corpus: Path, split: str, columns: list[str]) -> list[dict[str, Any]]:
    """Rows of `train` or `heldout` of a corpus directory, only these columns."""
    path = corpus / f"{split}.parquet"
    if not path.is_file():
        raise InputError(f"{path} is missing: not a corpus directory")
    rows: list[dict[str, Any]] = pq.read_table(path, columns=columns).to_pylist()
    return rows


def task_rows(task: Task, corpus: Path, data_seed: int) -> Examples:
    """The examples that a corpus holds for a task."""
    columns = list(task.columns)
    return task.examples(read_corpus(corpus, "train", columns), read_corpus(corpus, "heldout", columns), data_seed)


def tell_left_out(examples: Examples, log: EventLog) -> None:
    for split, counts in examples.left_out.items():
        said = "; ".join(f"{count} {reason}" for reason, count in sorted(counts.items(), key=lambda item: -item[1]))
        log.note(f"{split} rows left out: {said or 'none'}")


def account(audit: Audit | None) -> dict[str, Any]:
    """What of the user's file was dropped or not used, for the metrics: it is said again at the end of a run."""
    return {} if audit is None else {"audit": audit.plain()}


def context_of(wanted: int, model: ModelConfig, log: EventLog) -> int:
    """The context to train with: what is asked for, or all the model has."""
    if wanted > model.max_position_embeddings:
        log.note(f"context_length {wanted} is cut to the model's {model.max_position_embeddings}")
    return min(wanted, model.max_position_embeddings)


def device_and_autocast(
    config: TrainingConfig,
) -> tuple[torch.device, contextlib.AbstractContextManager[Any]]:
    """Where and in which precision the loop will compute, for what must agree with it."""
    device = choose_device(config.device)
    dtype = choose_precision(config.precision, device)
    if dtype == torch.float32:
        return device, contextlib.nullcontext()
    return device, torch.autocast(device.type, dtype)


def adapt(model: DecoderLM, lora: LoraConfig | None, seed: int, log: EventLog) -> None:
    """Put the wanted adapters on the model, in place; without any it is trained as it is."""
    if lora is None:
        return
    add_lora(model, lora, seed)
    hf_names(model.config, lora_layers(model))  # what could not be written is not trained
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    log.note(f"adapters on {len(lora_layers(model))} projections: {trained} parameters are trained")


def write_model(model: DecoderLM, tok: Tokenizer, curve: Sequence[dict[str, Any]], out: Path, base: Path) -> None:
    """Fill `out` as a model directory with its training curve; adapters are merged, and kept apart in `adapter/`."""
    model.to("cpu")
    if lora_layers(model):
        save_adapter(model, out / "adapter", base.name)
        merge_lora(model)
    save_model(model, out)
    keep_generation_settings(base, out)
    tok.save(out)
    write_atomic(out / "curve.jsonl", "".join(json.dumps(point) + "\n" for point in curve))


def run_metrics(result: TrainResult) -> dict[str, Any]:
    """Figures of the run that every stage returns: held-out ones prefixed `heldout_`, times under `timing`."""
    return {
        **{f"heldout_{name}": value for name, value in result.final.items()},
        "steps": result.steps,
        "tokens_seen": result.tokens,
        "skipped_steps": len(result.skipped),
        **({"best_step": result.best["step"]} if result.best else {}),
        **({"warned": result.warned} if result.warned else {}),
        "timing": result.timing,
    }
