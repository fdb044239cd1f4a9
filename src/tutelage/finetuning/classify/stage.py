"""The stage of classification finetuning."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from tutelage.finetuning.classify.calibrate import calibrate
from tutelage.finetuning.classify.config import ClassifyConfig
from tutelage.finetuning.classify.frozen import Head, fit_head, with_fitted_head
from tutelage.finetuning.classify.head import pooling_of, pooling_said, states_and_scores
from tutelage.finetuning.classify.linear import FOLDS, Link
from tutelage.finetuning.classify.objective import Classification
from tutelage.finetuning.classify.rows import framed, prepare
from tutelage.finetuning.classify.suspects import SUSPECTED, suspected
from tutelage.finetuning.common import (
    account,
    adapt,
    context_of,
    load_base,
    run_metrics,
    with_head,
    write_model,
)
from tutelage.finetuning.data import write_rows
from tutelage.finetuning.examples import label_examples
from tutelage.finetuning.preflight.account import labels_account
from tutelage.finetuning.preflight.tell import keep_and_tell
from tutelage.inference.familiarity import Familiarity
from tutelage.inference.unseen import Unseen
from tutelage.model.decoder import DecoderLM
from tutelage.model.hf_config import load_config
from tutelage.model.io import load_model
from tutelage.model.ordinal import median_labels
from tutelage.store.events import EventLog
from tutelage.store.files import write_json
from tutelage.store.stage import Job
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.data.packing import Example, pack
from tutelage.training.loop import train

LEARNED_BY = 1000  # training texts that define what is familiar to a trained model; a frozen one uses all


def classify(job: Job) -> dict[str, Any]:
    """Turn a model into a classifier: fit or train a head, and calibrate its probabilities.

    `out` becomes a model directory with `data/train.jsonl` and `data/heldout.jsonl` ({"id","text","label"}, with
    truncated texts). Raises InputError without two usable labels.
    """
    config, base, out = job.config, job.inputs["model"], job.out
    model_config = load_config(base)
    tok = framed(Tokenizer.load(base), config.frame, model_config)
    pooling = pooling_of(config, model_config, job.log)
    limit = min(config.max_tokens, context_of(config.context_length, model_config, job.log))
    rows = prepare(job, tok, limit)
    keep_and_tell(
        labels_account(tok, rows.train, rows.heldout, limit, rows.audit, config.columns, True, ordinal=config.ordinal),
        out,
        job.log,
    )
    labels, counts = list(rows.labels.kept), Counter(row["label"] for row in rows.train)
    write_rows(out / "data" / "train.jsonl", rows.train)
    write_rows(out / "data" / "heldout.jsonl", rows.heldout)
    write_json(out / "data" / "labels.json", rows.natural)

    even = dict.fromkeys(labels, 1.0)
    balanced = {label: len(rows.train) / (len(labels) * counts[label]) for label in labels}
    weight_of = balanced if config.class_weights == "balanced" else even
    train_on = label_examples(tok, rows.train, labels, weight_of)
    held = label_examples(tok, rows.heldout, labels, even)
    if config.frozen:
        frozen = load_model(base)
        frozen.config = frozen.config.with_(**pooling)
        model, found, curve, head = _fitted(config, frozen, train_on, labels, job.log)
        doubtful = suspected(rows.train, labels, head.unseen)
        write_rows(out / "data" / SUSPECTED, doubtful)
        found["suspected_labels"] = len(doubtful)
    else:
        model, found, curve = _trained(config, job, tok.pad_id, train_on, held, labels, pooling)
    states, scores = states_and_scores(model, held, config.training)
    targets = torch.tensor([example.segments[0].targets[-1] for example in held])
    if config.frozen:
        found["heldout_loss"] = float(F.cross_entropy(scores, targets))
        found["heldout_accuracy"] = float((scores.argmax(-1) == targets).float().mean())
    temperature = calibrate(model, scores, targets)
    found["temperature"] = round(temperature, 4)
    if config.frozen:
        fold = np.arange(len(head.unseen)) % FOLDS
        Unseen(head.unseen, fold, np.array([temperature])).save(out)
    if config.ordinal:
        off = (median_labels(scores / temperature) - targets).abs()
        found["heldout_accuracy"] = float((off == 0).float().mean())
        found["heldout_mean_absolute_error"] = float(off.float().mean())
    if config.frozen:
        known = head.states
    else:
        known = states_and_scores(model, train_on[:LEARNED_BY], config.training)[0].numpy()
    groups = np.array([example.segments[0].targets[-1] for example in train_on[: len(known)]])
    Familiarity.fit(known, groups, states.numpy()).save(out)
    write_model(model, tok.with_max_length(limit), curve, out, base, job.log)
    return {
        "labels": {label: counts[label] for label in labels},
        "train_texts": len(rows.train),
        "heldout_texts": len(rows.heldout),
        "cut_texts": rows.cut,
        "max_tokens": limit,
        "heldout_majority": round(max(Counter(row["label"] for row in rows.heldout).values()) / len(rows.heldout), 4),
        **({"pooling": said} if (said := pooling_said(**pooling)) else {}),
        **account(rows.audit),
        "dropped_labels": {name: item["count"] for name, item in rows.labels.plain()["dropped"].items()},
        **found,
    }


def _trained(
    config: ClassifyConfig,
    job: Job,
    pad_id: int,
    train_on: list[Example],
    held: list[Example],
    labels: list[str],
    pooling: dict[str, Any],
) -> tuple[DecoderLM, dict[str, Any], list[dict[str, Any]]]:
    """The model trained with its head, the metrics of the run and its curve."""
    base = job.inputs["model"]
    model = with_head(load_base(base, config.lora), labels, job.seed, ordinal=config.ordinal, **pooling)
    adapt(model, config.lora, job.seed, job.log, job.work)
    length = min(config.context_length, model.config.max_position_embeddings)
    objective = Classification(pack(train_on, length, pad_id), pack(held, length, pad_id), config.focal, config.ordinal)
    result = train(model, objective, config.training, job.work, job.log, job.seed, data_seed=job.data_seed)
    return model, run_metrics(result), result.curve


def _fitted(
    config: ClassifyConfig, base: DecoderLM, train_on: list[Example], labels: list[str], log: EventLog
) -> tuple[DecoderLM, dict[str, Any], list[dict[str, Any]], Head]:
    """The first layers of the model, unchanged, with a fitted head; metrics, an empty curve, and the head."""
    started = time.monotonic()
    segments = [example.segments[0] for example in train_on]
    wanted = np.eye(len(labels), dtype=np.float32)[[segment.targets[-1] for segment in segments]]
    weights = [segment.weights[-1] for segment in segments]
    link: Link = "ordinal" if config.ordinal else "softmax"
    head = fit_head(base, [segment.tokens for segment in segments], wanted, weights, config.training, log, link)
    log.note(f"the head reads layer {head.layers} of {base.config.num_layers}; C = {head.strength:g}")
    model = with_fitted_head(base, head, labels, ordinal=config.ordinal)
    timing = {"seconds": round(time.monotonic() - started, 3)}
    return model, {"layers": head.layers, "strength": head.strength, "timing": timing}, [], head
