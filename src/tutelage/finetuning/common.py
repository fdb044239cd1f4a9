"""What the finetuning methods share: rows of a task, the context, the model directory they leave."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save
from torch import nn

from tutelage.finetuning import method, method_names
from tutelage.finetuning.context import LARGE
from tutelage.finetuning.data import Audit
from tutelage.interchange.adopt import ADOPTED
from tutelage.interchange.peft import check_adaptable, save_adapter
from tutelage.interchange.proof import check_merge, said
from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.describe import parameters
from tutelage.model.hf_config import load_config
from tutelage.model.io import MAX_SHARD_BYTES, keep_generation_settings, load_model, save_model
from tutelage.model.lora import LoraConfig, MergedState, add_lora, is_quantised, lora_layers, lora_starts, shared_copy
from tutelage.model.nf4 import NF4Weight
from tutelage.store.artifacts import MANIFEST
from tutelage.store.device import choose_device, choose_precision, return_large_pieces
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.files import write_atomic, write_json
from tutelage.tasks import Examples, Task
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.config import TrainingConfig
from tutelage.training.loop import TrainResult

_PLAIN_HEAD = {"multi_label": False, "ordinal": False, "pooling": "last", "pool_tokens": 0}
MERGED_SHARD_BYTES = 500_000_000  # of a model in 4 bits: so much of it is in memory in full, as it is written


def read_corpus(corpus: Path, split: str, columns: list[str]) -> list[dict[str, Any]]:
    """Rows of `train` or `heldout` of a corpus directory, only these columns."""
    path = corpus / f"{split}.parquet"
    if not path.is_file():
        raise InputError(f"{path} is missing: not a corpus directory")
    rows: list[dict[str, Any]] = pq.read_table(path, columns=columns).to_pylist()
    return rows


def task_rows(task: Task, corpus: Path | None, data_seed: int) -> Examples:
    """The examples that a corpus holds for a task, or that the task makes."""
    if corpus is None or not task.columns:
        return task.examples([], [], data_seed)
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


def load_base(directory: Path, lora: LoraConfig | None) -> DecoderLM:
    """The model that finetuning begins with; its matrices in 4 bits from the beginning where adapters want that.

    Beside the weights of a large one in 4 bits, gaps in memory count. A small one would only be slow without them: at
    1.4M parameters a step took 1.5 times as long, for 90 MB of 620.
    """
    if lora is None or lora.quantisation == "none":
        return load_model(directory)
    if sum(parameters(load_config(directory)).values()) >= LARGE:
        return_large_pieces()
    return load_model(directory, quantisation=lora.quantisation)


def adapt(model: DecoderLM, lora: LoraConfig | None, seed: int, log: EventLog, work: Path | None = None) -> None:
    """Put the wanted adapters on the model, in place; without any it is trained as it is.

    Where PiSSA begins is kept in `work`, so that a resumed run begins with the very same numbers on any machine.
    """
    if lora is None:
        return
    if lora.init == "pissa" and work is not None:
        path = work / f"pissa-{_identity(model, lora, seed)[:16]}.safetensors"
        add_lora(model, lora, seed, load_file(path) if path.exists() else None)
        write_atomic(path, save({name: value.contiguous() for name, value in lora_starts(model).items()}))
    else:
        add_lora(model, lora, seed)
    if lora.quantisation != "none":
        count = sum(isinstance(module, NF4Weight) for module in model.modules())
        log.note(f"{count} matrices are held in 4 bits ({lora.quantisation}); the adapter will be merged into these")
    check_adaptable(model)  # what could not be written is not trained
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    log.note(f"adapters on {len(lora_layers(model))} projections: {trained} parameters are trained")


def _identity(model: DecoderLM, lora: LoraConfig, seed: int) -> str:
    digest = hashlib.sha256(f"{lora.plain()}:{seed}".encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def with_head(base: DecoderLM, labels: Sequence[str], seed: int, **kind: Any) -> DecoderLM:
    """The same weights with a classification head: its own if it has one that reads the same for these labels, else
    drawn from `seed`. kind: further fields of the config (`CLASSES`), where not the defaults."""
    config = base.config.with_(num_labels=len(labels), labels=tuple(labels), **{**_PLAIN_HEAD, **kind})
    if base.config == config:
        return base
    generator = torch.Generator().manual_seed(seed)
    head = torch.empty(len(labels), config.hidden_size).normal_(0.0, config.initializer_range, generator=generator)
    model = shared_copy(base)
    model.config = config
    model.score = nn.Linear(config.hidden_size, len(labels), bias=False, device="meta")
    model.score.weight = nn.Parameter(head)
    return model


def write_model(
    model: DecoderLM,
    tok: Tokenizer,
    curve: Sequence[dict[str, Any]],
    out: Path,
    base: Path,
    log: EventLog | None = None,
) -> None:
    """Fill `out` as a model directory with its training curve; adapters are merged, and kept apart in `adapter/`.

    The merged weights are made one after the other as they are written, and the log says how far they are from the
    adapters beside the weights.
    """
    model.to("cpu")
    if lora_layers(model):
        save_adapter(model, out / "adapter", base.name)
        tok.save(out / "adapter")
        if log is not None:
            merged = check_merge(model.eval(), tok)
            say = log.note if merged.passed else log.warn
            say(said(merged, "logits of the merged model", "the adapter beside its base"))
        limit = MERGED_SHARD_BYTES if is_quantised(model) else MAX_SHARD_BYTES
        save_model(model, out, limit, MergedState(model))
    else:
        save_model(model, out)
    keep_generation_settings(base, out)
    tok.save(out)
    write_atomic(out / "curve.jsonl", "".join(json.dumps(point) + "\n" for point in curve))


def chats(model: Path) -> bool:
    """Whether a model was made to be talked to: by a method here, as its manifest says, or where it comes from."""
    kind = _field(model / MANIFEST, "stage")
    return bool(_field(model / ADOPTED, "chat")) or (kind in method_names() and method(kind).makes == "chat model")


def keep_chatting(base: Path, out: Path) -> None:
    """Say of the model in `out` what is known of the one it was made from: where that is from, that it chats."""
    if chats(base):
        write_json(out / ADOPTED, {"source": _field(base / ADOPTED, "source"), "chat": True})


def _field(path: Path, key: str) -> Any:
    return json.loads(path.read_text(encoding="utf-8")).get(key) if path.is_file() else None


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
