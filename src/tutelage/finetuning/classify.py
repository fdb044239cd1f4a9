"""The classification stage: a base model and labelled text in, a classifier out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import torch

from tutelage.finetuning.common import adapt, context_of, read_corpus, run_metrics, write_model
from tutelage.finetuning.config import ClassifyConfig
from tutelage.finetuning.data import Row, split, write_rows
from tutelage.finetuning.data.plain_rows import labelled_rows as read_labelled
from tutelage.finetuning.docstrings import by_hash
from tutelage.finetuning.examples import label_examples
from tutelage.finetuning.objectives import Classification
from tutelage.model.decoder import DecoderLM
from tutelage.model.hf_config import load_config
from tutelage.model.io import load_model
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.data.packing import pack
from tutelage.training.loop import train


def why_not(corpus: Path, config: ClassifyConfig | None = None) -> str | None:
    """Why this corpus cannot feed the stage, in one sentence; None if it can."""
    config = config or ClassifyConfig()
    if config.data is not None:
        return None
    labels = usable_labels(_corpus_rows(corpus, "train"), _corpus_rows(corpus, "heldout"), config)
    if len(labels) >= 2:
        return None
    found = f"only {labels[0]!r} has" if labels else "none has"
    return (
        f"the corpus has no two labels with {config.min_per_label} training and {config.min_heldout} held-out "
        f"documents each ({found})"
    )


def usable_labels(train_rows: list[Row], heldout: list[Row], config: ClassifyConfig) -> list[str]:
    """Labels with enough documents in both splits, sorted."""
    trained = Counter(row["label"] for row in train_rows)
    held = Counter(row["label"] for row in heldout)
    return sorted(
        label for label, count in trained.items() if count >= config.min_per_label and held[label] >= config.min_heldout
    )


def classify(
    config: ClassifyConfig, corpus: Path, base: Path, out: Path, work: Path, log: EventLog, seed: int
) -> dict[str, Any]:
    """Train the base model with a fresh head to name each text's label.

    `out` becomes a model directory with `data/train.jsonl` and `data/heldout.jsonl` ({"id","text","label"},
    texts as they were read). Raises InputError where there are no two usable labels.
    """
    tok = Tokenizer.load(base)
    train_rows, heldout = _rows(config, corpus, log, seed)
    model_config = load_config(base)
    limit = min(config.max_tokens, context_of(config.context_length, model_config, log))
    labels = usable_labels(train_rows, heldout, config)
    if len(labels) < 2:
        raise InputError(
            f"no two labels have {config.min_per_label} training and {config.min_heldout} held-out texts",
            hint="lower min_per_label or give more text",
        )
    train_rows = _capped(train_rows, labels, config.max_per_label, seed)
    train_rows, cut_train = _read_as(tok, train_rows, limit)
    heldout = by_hash([row for row in heldout if row["label"] in labels], seed)[: config.max_heldout]
    heldout, cut_heldout = _read_as(tok, heldout, limit)
    known = {row["text"] for row in train_rows}
    unseen = [row for row in heldout if row["text"] not in known]
    repeated = len(heldout) - len(unseen)
    if not unseen:
        raise InputError("every held-out text reads like a training text", hint="raise max_tokens")

    counts = Counter(row["label"] for row in train_rows)
    log.note(
        f"{len(labels)} labels, {len(train_rows)} training texts (at most {config.max_per_label} of each), "
        f"{len(unseen)} held out; read up to {limit} tokens, which cuts {cut_train + cut_heldout} texts; "
        f"{repeated} held-out texts dropped that read like a training text; class weights: {config.class_weights}"
    )
    write_rows(out / "data" / "train.jsonl", train_rows)
    write_rows(out / "data" / "heldout.jsonl", unseen)

    even = dict.fromkeys(labels, 1.0)
    balanced = {label: len(train_rows) / (len(labels) * counts[label]) for label in labels}
    weight_of = balanced if config.class_weights == "balanced" else even
    length = min(config.context_length, model_config.max_position_embeddings)
    objective = Classification(
        pack(label_examples(tok, train_rows, labels, weight_of), length, tok.pad_id),
        pack(label_examples(tok, unseen, labels, even), length, tok.pad_id),
    )
    model = with_head(load_model(base), labels, seed)
    adapt(model, config.lora, seed, log)
    result = train(model, objective, config.training, work, log, seed)
    write_model(model, tok.with_max_length(limit), result, out, base)
    held_counts = Counter(row["label"] for row in unseen)
    return {
        "labels": {label: counts[label] for label in labels},
        "train_texts": len(train_rows),
        "heldout_texts": len(unseen),
        "cut_texts": cut_train + cut_heldout,
        "max_tokens": limit,
        "heldout_majority": round(max(held_counts.values()) / len(unseen), 4),
        **run_metrics(result),
    }


def with_head(base: DecoderLM, labels: list[str], seed: int) -> DecoderLM:
    """The same weights with a fresh classification head, its values drawn from `seed`."""
    config = base.config.model_copy(update={"num_labels": len(labels), "labels": tuple(labels)})
    with torch.device("meta"):
        model = DecoderLM(config, seed=None)
    state = {name: value.clone() for name, value in base.state_dict().items() if name != "score.weight"}
    generator = torch.Generator().manual_seed(seed)
    head = torch.empty(len(labels), config.hidden_size).normal_(0.0, config.initializer_range, generator=generator)
    model.load_state_dict({**state, "score.weight": head}, assign=True)
    return model


def _rows(config: ClassifyConfig, corpus: Path, log: EventLog, seed: int) -> tuple[list[Row], list[Row]]:
    if config.data is not None:
        return split(read_labelled(Path(config.data), log), seed)
    return _corpus_rows(corpus, "train"), _corpus_rows(corpus, "heldout")


def _corpus_rows(corpus: Path, name: str) -> list[Row]:
    return [row for row in read_corpus(corpus, name, ["id", "text", "label"]) if row["label"]]


def _capped(rows: list[Row], labels: list[str], most: int, seed: int) -> list[Row]:
    """At most `most` rows of each label, in hash order."""
    taken: Counter[str] = Counter()
    kept = []
    for row in by_hash(rows, seed):
        if row["label"] in labels and taken[row["label"]] < most:
            taken[row["label"]] += 1
            kept.append(row)
    return kept


def _read_as(tok: Tokenizer, rows: list[Row], limit: int) -> tuple[list[Row], int]:
    """Rows with each text cut to what of it is read, and how many were cut."""
    read, cut = [], 0
    for row, ids in zip(rows, tok.encode_batch([row["text"] for row in rows]), strict=True):
        text, keep = row["text"], limit
        while len(ids) > limit:
            # The cut may fall inside a character, and the shorter text may split into more tokens.
            text = tok.decode(ids[:keep]).rstrip("\ufffd")
            ids, keep = tok.encode(text), keep - 1
        cut += text is not row["text"]
        if ids:
            read.append({**row, "text": text})
    return read, cut
