"""The stage of continued pretraining."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tutelage.corpus.sources import input_files
from tutelage.finetuning.common import (
    adapt,
    context_of,
    keep_chatting,
    load_base,
    read_corpus,
    run_metrics,
    write_model,
)
from tutelage.finetuning.data import Row, read_rows, write_rows
from tutelage.finetuning.further.config import FurtherConfig
from tutelage.finetuning.further.objective import Further
from tutelage.finetuning.further.preflight import texts_account
from tutelage.finetuning.further.rows import document_examples, mixed, replay_examples
from tutelage.finetuning.preflight.tell import keep_and_tell
from tutelage.inference.language_model import LanguageModel
from tutelage.model.decoder import DecoderLM
from tutelage.model.extend import extend_embeddings
from tutelage.store.events import EventLog
from tutelage.store.hashing import by_hash
from tutelage.store.stage import Job
from tutelage.tokenizer.extend import extend_tokenizer
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.data.packing import pack
from tutelage.training.loop import total_steps, train

DOCUMENT_BYTES = 2000  # of a document, estimated


def audit(config: FurtherConfig, log: EventLog) -> int | None:
    """Estimated number of documents of the user's text. Raises InputError if it or another source is missing."""
    for source in (config.replay.source, config.general):
        if source is not None:
            input_files(source)
    if config.data is None:
        return None
    return max(1, sum(file.path.stat().st_size for file in input_files(config.data)) // DOCUMENT_BYTES)


def further(job: Job) -> dict[str, Any]:
    """Continue pretraining on the texts, with replay.

    Inputs: `texts` (or `corpus`), `sampled`, and optionally `replay` and `general`. `out` becomes a model directory
    with `data/heldout.jsonl`: the texts that are evaluated before and after ({"set", "id", "text"}), and the questions
    that are asked ({"set": "asked", "id", "prompt"}).
    """
    config, base, out, log = job.config, job.inputs["model"], job.out, job.log
    tok, model = Tokenizer.load(base), load_base(base, config.lora)
    context = context_of(config.context_length, model.config, log)
    texts = job.inputs.get("texts", job.inputs.get("corpus"))
    assert texts is not None
    rows = by_hash(_documents(texts, "train"), job.data_seed)
    heldout = by_hash(_documents(texts, "heldout"), job.data_seed)[: config.max_heldout]
    write_rows(out / "data" / "heldout.jsonl", _measured_rows(config, job, heldout))

    vocabulary: dict[str, Any] = {}
    if config.extend_vocabulary:
        tok, vocabulary = _extend(config, tok, model, rows, heldout, log)
    mix = mixed(
        document_examples(tok, rows, context),
        replay_examples(tok, by_hash(_old(config, job), job.data_seed), context),
        config.replay.share,
    )
    corpora = {"texts": texts, **{role: job.inputs[role] for role in ("replay", "general") if role in job.inputs}}
    keep_and_tell(texts_account(tok, config, corpora, rows, heldout, mix, context), out, log)
    objective = Further(
        pack(mix.examples, context, tok.pad_id),
        pack(document_examples(tok, heldout, context), context, tok.pad_id),
        _token_bytes(tok),
    )
    rows_read = total_steps(config.training, len(objective.rows["train"])) * config.training.batch_rows
    passes = mix.old_passes * rows_read / len(objective.rows["train"])
    adapt(model, config.lora, job.seed, log, job.work)
    result = train(model, objective, config.training, job.work, log, job.seed, data_seed=job.data_seed)
    write_model(model, tok, result.curve, out, base, log)
    keep_chatting(base, out)
    return {
        "documents": len(rows),
        "heldout_documents": len(heldout),
        "new_tokens": mix.new_tokens,
        "replayed_tokens": mix.old_tokens,
        "replayed_passes": round(passes, 3),
        "replayed": "text of your own" if config.replay.source else "text sampled from the model",
        **({"vocabulary": vocabulary} if vocabulary else {}),
        **run_metrics(result),
    }


def _documents(corpus: Path, split: str) -> list[Row]:
    return read_corpus(corpus, split, ["id", "text"])


def _old(config: FurtherConfig, job: Job) -> list[Row]:
    """The rows to replay: from `replay.source`, or sampled from the model."""
    if not config.replay.share:
        return []
    if config.replay.source is not None:
        return _documents(job.inputs["replay"], "train")
    return read_rows(job.inputs["sampled"] / "train.jsonl")


def _measured_rows(config: FurtherConfig, job: Job, heldout: Sequence[Row]) -> list[Row]:
    """All rows that are evaluated before and after, set by set.

    General text is that of `config.general`, else the held-out part of `replay.source`.
    """
    general: list[Row] = []
    if config.general is not None:
        general = [row for split in ("heldout", "train") for row in _documents(job.inputs["general"], split)]
    elif config.replay.source is not None:
        general = _documents(job.inputs["replay"], "heldout")
    own = read_rows(job.inputs["sampled"] / "heldout.jsonl")
    sets = {
        "new text": heldout,
        "general text": by_hash(general, job.data_seed)[: config.max_heldout],
        "own text": [row for row in own if "text" in row],
    }
    rows = [{"set": name, "id": row["id"], "text": row["text"]} for name, found in sets.items() for row in found]
    return rows + [{"set": "asked", "id": row["id"], "prompt": row["prompt"]} for row in own if "prompt" in row]


def _extend(
    config: FurtherConfig, tok: Tokenizer, model: DecoderLM, rows: Sequence[Row], heldout: Sequence[Row], log: EventLog
) -> tuple[Tokenizer, dict[str, Any]]:
    """The extended tokenizer, with its effect on held-out text before training; extends the embedding in place."""
    before = LanguageModel(model, tok)
    texts = [row["text"] for row in heldout]
    size = sum(len(text.encode()) for text in texts)
    figures = {"tokens_before": tok.vocab_size, **_compression(before, texts, size, "before")}
    longer = extend_tokenizer(tok, (row["text"] for row in rows), config.extend_vocabulary, config.min_count)
    extend_embeddings(model, longer.pieces)
    figures |= {
        "tokens_added": len(longer.pieces),
        **_compression(LanguageModel(model, longer.tokenizer), texts, size, "extended"),
    }
    log.note(
        f"{len(longer.pieces):,} tokens are added; held-out text has {figures['bytes_per_token_before']:.2f} bytes per "
        f"token before and {figures['bytes_per_token_extended']:.2f} after; before training, bits per byte change from "
        f"{figures['bits_per_byte_before']:.3f} to {figures['bits_per_byte_extended']:.3f}"
    )
    if len(longer.pieces) < config.extend_vocabulary:
        log.note(
            f"fewer than the requested {config.extend_vocabulary:,}: no other pair occurs {config.min_count} times"
        )
    return longer.tokenizer, figures


def _compression(lm: LanguageModel, texts: Sequence[str], size: int, when: str) -> dict[str, float]:
    tokens = sum(len(ids) for ids in lm.tokenizer.encode_batch(list(texts)))
    bits = -sum(lm.rolling(texts)) / math.log(2)
    return {f"bytes_per_token_{when}": round(size / tokens, 4), f"bits_per_byte_{when}": round(bits / size, 4)}


def _token_bytes(tok: Tokenizer) -> torch.Tensor:
    sizes = [0 if token in tok.control_ids else len(tok.token_bytes(token)) for token in range(tok.vocab_size)]
    return torch.tensor(sizes)
