"""The pretraining stage: a corpus and a tokenizer in, a base model out."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.io import save_model
from tutelage.pretraining.config import PretrainConfig
from tutelage.pretraining.objective import NextToken, pack_documents
from tutelage.store.device import seed_everything
from tutelage.store.errors import ConfigError, InputError
from tutelage.store.events import EventLog
from tutelage.store.files import write_atomic
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.loop import TrainResult, train


def pretrain(
    config: PretrainConfig,
    model: ModelConfig,
    corpus: Path,
    tokenizer: Path,
    out: Path,
    work: Path,
    log: EventLog,
    seed: int,
) -> dict[str, Any]:
    """Train a fresh decoder on the corpus's training documents; `out` becomes a model directory.

    `model.vocab_size` 0 takes the tokenizer's. Validation is the held-out documents, which nothing is chosen by.
    Returns the main metrics; times are under `timing`.
    """
    tok = Tokenizer.load(tokenizer)
    shape = complete_model_config(model, tok, config.context_length)
    begin = time.monotonic()
    rows = {}
    for split, name in (("train", "train"), ("validation", "heldout")):
        texts = read_texts(corpus / f"{name}.parquet")
        documents = []
        for at in range(0, len(texts), 2000):
            documents += tok.encode_batch(texts[at : at + 2000])
            log.progress(f"encoding {name} documents", min(at + 2000, len(texts)), len(texts), "documents")
        rows[split] = pack_documents(documents, tok.eos_id, config.context_length)
    encoding = round(time.monotonic() - begin, 2)
    token_bytes = torch.tensor([len(tok.token_bytes(token)) for token in range(tok.vocab_size)])
    seed_everything(seed)
    decoder = DecoderLM(shape, seed=seed)
    objective = NextToken(rows, token_bytes, tok.eos_id, tok.decode)
    log.emit("model", parameters=decoder.num_parameters(), train_tokens=rows["train"].num_tokens,
             rows=len(rows["train"]), padding=padding_share(rows["train"]))  # fmt: skip
    result = train(decoder, objective, config.training, work, log, seed, first_loss=math.log(shape.vocab_size))
    decoder.to("cpu")
    save_model(decoder, out)
    tok.save(out)
    write_curve(out / "curve.jsonl", result)
    return {
        "parameters": decoder.num_parameters(),
        "train_tokens": rows["train"].num_tokens,
        "tokens_seen": result.tokens,
        "epochs": round(result.tokens / rows["train"].num_tokens, 3),
        "padding": padding_share(rows["train"]),
        "heldout_loss": result.final["loss"],
        "heldout_bits_per_byte": result.final["bits_per_byte"],
        "steps": result.steps,
        "skipped_steps": len(result.skipped),
        "timing": {**result.timing, "encoding_seconds": encoding},
    }


def complete_model_config(model: ModelConfig, tok: Tokenizer, context_length: int) -> ModelConfig:
    """Fill in what the tokenizer decides. Raises ConfigError where the two contradict each other."""
    if model.vocab_size and model.vocab_size < tok.vocab_size:
        raise ConfigError(
            f"model.vocab_size is {model.vocab_size} but the tokenizer has {tok.vocab_size} tokens",
            hint="leave it at 0 to take the tokenizer's",
        )
    if model.max_position_embeddings < context_length:
        raise ConfigError(
            f"pretrain.context_length ({context_length}) is longer than "
            f"model.max_position_embeddings ({model.max_position_embeddings})"
        )
    return ModelConfig.parse(
        {
            **model.plain(),
            "vocab_size": model.vocab_size or tok.vocab_size,
            "bos_token_id": tok.eos_id,
            "eos_token_id": list(tok.stop_ids),
            "pad_token_id": tok.pad_id,
        }
    )


def read_texts(path: Path) -> list[str]:
    """The `text` column of a corpus file. Raises InputError if it is missing or empty."""
    if not path.is_file():
        raise InputError(f"{path} is missing: not a corpus directory")
    texts: list[str] = pq.read_table(path, columns=["text"])["text"].to_pylist()
    if not texts:
        raise InputError(f"{path} has no documents", hint="lower corpus.heldout or give more text")
    return texts


def padding_share(rows: Any) -> float:
    return round(1 - rows.num_tokens / (len(rows) * rows.length), 5)


def write_curve(path: Path, result: TrainResult) -> None:
    write_atomic(path, "".join(json.dumps(point) + "\n" for point in result.curve))
