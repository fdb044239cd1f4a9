"""The stage of multi-label classification."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from tutelage.finetuning.classify.calibrate import calibrate
from tutelage.finetuning.classify.frozen import fit_head, with_fitted_head
from tutelage.finetuning.classify.head import pooling_of, pooling_said, states_and_scores
from tutelage.finetuning.classify.rows import framed
from tutelage.finetuning.common import account, adapt, context_of, load_base, run_metrics, with_head, write_model
from tutelage.finetuning.data import Row, write_rows
from tutelage.finetuning.multilabel.objective import Multilabel
from tutelage.finetuning.multilabel.preflight import label_sets_account
from tutelage.finetuning.multilabel.rows import indicators, prepare
from tutelage.finetuning.preflight.tell import keep_and_tell
from tutelage.model.decoder import DecoderLM
from tutelage.model.hf_config import load_config
from tutelage.model.io import load_model
from tutelage.store.files import write_json
from tutelage.store.stage import Job
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.data.packing import Example, Segment, pack
from tutelage.training.loop import train


def multilabel(job: Job) -> dict[str, Any]:
    """Turn a model into a multi-label classifier: fit or train a head, and calibrate its probabilities.

    `out` becomes a model directory with `data/train.jsonl` and `data/heldout.jsonl` ({"id","text","labels"}, with
    truncated texts). Raises InputError without two usable labels.
    """
    config, base, out = job.config, job.inputs["model"], job.out
    model_config = load_config(base)
    tok = framed(Tokenizer.load(base), config.frame, model_config)
    pooling = pooling_of(config, model_config, job.log)
    limit = min(config.max_tokens, context_of(config.context_length, model_config, job.log))
    rows = prepare(job, tok, limit)
    keep_and_tell(
        label_sets_account(tok, rows.train, rows.heldout, limit, rows.audit, config.columns, cut=True), out, job.log
    )
    labels = list(rows.labels.kept)
    write_rows(out / "data" / "train.jsonl", rows.train)
    write_rows(out / "data" / "heldout.jsonl", rows.heldout)
    write_json(out / "data" / "labels.json", labels)

    wanted = indicators([*rows.train, *rows.heldout], labels)
    held_wanted = wanted[len(rows.train) :]
    train_on = _examples(tok, rows.train, 0)
    held = _examples(tok, rows.heldout, len(rows.train))
    if config.frozen:
        model, found, curve = _fitted(job, train_on, wanted[: len(rows.train)], labels, pooling)
    else:
        model, found, curve = _trained(job, tok.pad_id, train_on, held, wanted, labels, pooling)
    _, scores = states_and_scores(model, held, config.training)
    targets = torch.from_numpy(held_wanted)
    if config.frozen:
        found["heldout_loss"] = float(F.binary_cross_entropy_with_logits(scores, targets) * len(labels))
        found["heldout_exact_match"] = float(((scores > 0) == (targets > 0)).all(dim=-1).float().mean())
    found["temperature"] = round(calibrate(model, scores, targets), 4)
    write_model(model, tok.with_max_length(limit), curve, out, base, job.log)
    counts = wanted[: len(rows.train)].sum(axis=0)
    return {
        "labels": {label: int(count) for label, count in zip(labels, counts, strict=True)},
        "train_texts": len(rows.train),
        "heldout_texts": len(rows.heldout),
        "labels_per_text": round(float(wanted.sum(axis=1).mean()), 3),
        "cut_texts": rows.cut,
        "max_tokens": limit,
        **({"pooling": said} if (said := pooling_said(**pooling)) else {}),
        **account(rows.audit),
        "dropped_labels": {name: item["count"] for name, item in rows.labels.plain()["dropped"].items()},
        **found,
    }


def _examples(tok: Tokenizer, rows: list[Row], first: int) -> list[Example]:
    """One example per text; the target at its last token is its index, from `first`."""
    found = []
    for number, encoded in enumerate(tok.encode_batch([row["text"] for row in rows]), first):
        ids = tok.framed(encoded)
        before = [0] * (len(ids) - 1)
        found.append(Example([Segment(ids, [*before, number], [*map(float, before), 1.0])]))
    return found


def _fitted(
    job: Job, train_on: list[Example], wanted: NDArray[np.float32], labels: list[str], pooling: dict[str, Any]
) -> tuple[DecoderLM, dict[str, Any], list[dict[str, Any]]]:
    """The first layers of the model, unchanged, with a fitted head; metrics, and an empty curve."""
    started, base = time.monotonic(), load_model(job.inputs["model"])
    base.config = base.config.with_(**pooling)
    ids = [example.segments[0].tokens for example in train_on]
    head = fit_head(base, ids, wanted, [1.0] * len(ids), job.config.training, job.log, "sigmoid")
    job.log.note(f"the head reads layer {head.layers} of {base.config.num_layers}; C = {head.strength:g}")
    model = with_fitted_head(base, head, labels, multi_label=True)
    timing = {"seconds": round(time.monotonic() - started, 3)}
    return model, {"layers": head.layers, "strength": head.strength, "timing": timing}, []


def _trained(
    job: Job,
    pad_id: int,
    train_on: list[Example],
    held: list[Example],
    wanted: NDArray[np.float32],
    labels: list[str],
    pooling: dict[str, Any],
) -> tuple[DecoderLM, dict[str, Any], list[dict[str, Any]]]:
    config = job.config
    model = with_head(load_base(job.inputs["model"], config.lora), labels, job.seed, multi_label=True, **pooling)
    adapt(model, config.lora, job.seed, job.log, job.work)
    length = min(config.context_length, model.config.max_position_embeddings)
    objective = Multilabel(pack(train_on, length, pad_id), pack(held, length, pad_id), wanted)
    result = train(model, objective, config.training, job.work, job.log, job.seed, data_seed=job.data_seed)
    return model, run_metrics(result), result.curve
