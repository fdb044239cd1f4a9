"""The classification stage: a model and labelled text in, a classifier out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from tutelage.finetuning.classify.calibrate import calibrate
from tutelage.finetuning.classify.config import ClassifyConfig
from tutelage.finetuning.classify.frozen import fit_head, with_fitted_head
from tutelage.finetuning.classify.objective import Classification
from tutelage.finetuning.common import (
    account,
    adapt,
    context_of,
    device_and_autocast,
    run_metrics,
    task_rows,
    write_model,
)
from tutelage.finetuning.data import (
    Audit,
    Labels,
    Row,
    Split,
    choose_labels,
    read_labelled,
    stratified_split,
    write_rows,
)
from tutelage.finetuning.examples import label_examples
from tutelage.inference.scoring import last_scores
from tutelage.model.decoder import DecoderLM
from tutelage.model.hf_config import load_config
from tutelage.model.io import load_model
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.files import write_json
from tutelage.store.hashing import by_hash
from tutelage.store.stage import Job
from tutelage.tasks import task
from tutelage.tokenizer.frame import with_frame
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.data.packing import Example, pack
from tutelage.training.loop import train


def why_not(config: ClassifyConfig, inputs: Mapping[str, Path]) -> str | None:
    """Why this corpus cannot feed the stage, in one sentence; None if it can."""
    if config.data is not None or config.task is None:
        return None
    found = task_rows(task(config.task), inputs["corpus"], 0)
    reason = labels_of(config, found.train, found.heldout).why_not
    return reason and f"the corpus cannot feed a classifier: {reason}"


def labels_of(config: ClassifyConfig, train: list[Row], heldout: list[Row]) -> Labels:
    return choose_labels(train, heldout, config.min_per_label, config.max_per_label, config.min_heldout)


def classify(job: Job) -> dict[str, Any]:
    """Train the model with a fresh head to name each text's label.

    `out` becomes a model directory with `data/train.jsonl` and `data/heldout.jsonl` ({"id","text","label"},
    texts as they were read). Raises InputError where there are no two usable labels.
    """
    config, base, out, log = job.config, job.inputs["model"], job.out, job.log
    tok = Tokenizer.load(base)
    if config.frame and not _continues(base):
        tok = with_frame(tok, config.frame)
    train_rows, heldout, audit = _rows(config, job)
    model_config = load_config(base)
    limit = min(config.max_tokens, context_of(config.context_length, model_config, log))
    chosen = labels_of(config, train_rows, heldout)
    if chosen.why_not:
        raise InputError(chosen.why_not, hint="lower min_per_label or give more text")
    chosen.tell(log)
    labels = list(chosen.kept)
    natural = Counter(row["label"] for row in [*train_rows, *heldout])
    train_rows = _capped(train_rows, labels, config.max_per_label or len(train_rows), job.data_seed)
    rows_before = len(train_rows)
    train_rows, cut_train = _read_as(tok, train_rows, limit)
    heldout = by_hash([row for row in heldout if row["label"] in labels], job.data_seed)[: config.max_heldout]
    rows_before += len(heldout)
    heldout, cut_heldout = _read_as(tok, heldout, limit)
    if unreadable := rows_before - len(train_rows) - len(heldout):
        log.warn(f"{unreadable} texts are dropped: the tokenizer reads nothing in them")
    known = {row["text"] for row in train_rows}
    unseen = [row for row in heldout if row["text"] not in known]
    repeated = len(heldout) - len(unseen)
    train_rows = _shared(train_rows, config.share)
    if not unseen:
        raise InputError("every held-out text reads like a training text", hint="raise max_tokens")

    counts = Counter(row["label"] for row in train_rows)
    log.note(
        f"{len(labels)} labels, {len(train_rows)} training texts, {len(unseen)} held out; texts are read up to {limit} "
        f"tokens, which cuts {cut_train + cut_heldout} texts; {repeated} held-out texts that read like a training text "
        f"are dropped; class weights: {config.class_weights}"
    )
    write_rows(out / "data" / "train.jsonl", train_rows)
    write_rows(out / "data" / "heldout.jsonl", unseen)
    write_json(out / "data" / "labels.json", {label: natural[label] for label in labels})  # before any were capped

    even = dict.fromkeys(labels, 1.0)
    balanced = {label: len(train_rows) / (len(labels) * counts[label]) for label in labels}
    weight_of = balanced if config.class_weights == "balanced" else even
    train_examples = label_examples(tok, train_rows, labels, weight_of)
    heldout_examples = label_examples(tok, unseen, labels, even)
    if config.frozen:
        model, found, curve = _fitted(config, load_model(base), train_examples, labels, log)
    else:
        model, found, curve = _trained(config, job, tok.pad_id, train_examples, heldout_examples, labels)
    asked = [example.segments[0] for example in heldout_examples]
    device, autocast = device_and_autocast(config.training)
    with autocast:
        scores = torch.stack(last_scores(model.to(device).eval(), [segment.tokens for segment in asked]))
    targets = torch.tensor([segment.targets[-1] for segment in asked])
    if config.frozen:
        found["heldout_loss"] = float(F.cross_entropy(scores, targets))
        found["heldout_accuracy"] = float((scores.argmax(-1) == targets).float().mean())
    found["temperature"] = round(calibrate(model, scores, targets), 4)
    write_model(model, tok.with_max_length(limit), curve, out, base)
    held_counts = Counter(row["label"] for row in unseen)
    return {
        "labels": {label: counts[label] for label in labels},
        "train_texts": len(train_rows),
        "heldout_texts": len(unseen),
        "cut_texts": cut_train + cut_heldout,
        "max_tokens": limit,
        "heldout_majority": round(max(held_counts.values()) / len(unseen), 4),
        **account(audit),
        "dropped_labels": {name: item["count"] for name, item in chosen.plain()["dropped"].items()},
        **found,
    }


def _trained(
    config: ClassifyConfig, job: Job, pad_id: int, train_on: list[Example], held: list[Example], labels: list[str]
) -> tuple[DecoderLM, dict[str, Any], list[dict[str, Any]]]:
    """The model trained with its head, the figures of the run and its curve."""
    base = job.inputs["model"]
    model = with_head(load_model(base), labels, job.seed)
    adapt(model, config.lora, job.seed, job.log)
    length = min(config.context_length, model.config.max_position_embeddings)
    objective = Classification(pack(train_on, length, pad_id), pack(held, length, pad_id))
    result = train(model, objective, config.training, job.work, job.log, job.seed, data_seed=job.data_seed)
    return model, run_metrics(result), result.curve


def _fitted(
    config: ClassifyConfig, base: DecoderLM, train_on: list[Example], labels: list[str], log: EventLog
) -> tuple[DecoderLM, dict[str, Any], list[dict[str, Any]]]:
    """The first layers of the model, untouched, with a fitted head; its figures, and no curve."""
    started = time.monotonic()
    segments = [example.segments[0] for example in train_on]
    head = fit_head(
        base, [segment.tokens for segment in segments], [segment.targets[-1] for segment in segments],
        [segment.weights[-1] for segment in segments], config.training, log,
    )  # fmt: skip
    log.note(f"the head reads layer {head.layers} of {base.config.num_layers}; C = {head.strength:g}")
    model = with_fitted_head(base, head, labels)
    timing = {"seconds": round(time.monotonic() - started, 3)}
    return model, {"layers": head.layers, "strength": head.strength, "timing": timing}, []


def _continues(base: Path) -> bool:
    """Whether the model classifies already, and so reads texts in its own frame."""
    return bool(load_config(base).num_labels)


def with_head(base: DecoderLM, labels: list[str], seed: int) -> DecoderLM:
    """The same weights with a classification head: its own if it has one for these labels, else drawn from `seed`."""
    if base.config.labels == tuple(labels):
        return base
    config = base.config.with_(num_labels=len(labels), labels=tuple(labels))
    with torch.device("meta"):
        model = DecoderLM(config, seed=None)
    state = {name: value.clone() for name, value in base.state_dict().items() if name != "score.weight"}
    generator = torch.Generator().manual_seed(seed)
    head = torch.empty(len(labels), config.hidden_size).normal_(0.0, config.initializer_range, generator=generator)
    model.load_state_dict({**state, "score.weight": head}, assign=True)
    return model


def own_rows(config: ClassifyConfig, log: EventLog, data_seed: int) -> tuple[Split, Audit]:
    """The user's file, split, and the account of it. Raises InputError where it cannot be used."""
    assert config.data is not None
    rows, audit = read_labelled(Path(config.data).expanduser(), log, config.columns)
    found = stratified_split(rows, data_seed, config.heldout)
    if reason := labels_of(config, found.train, found.heldout).why_not:
        raise InputError(f"{Path(config.data).name}: {reason}", hint="lower min_per_label or give more rows")
    return found, audit


def _rows(config: ClassifyConfig, job: Job) -> tuple[list[Row], list[Row], Audit | None]:
    if config.data is not None:
        split, audit = own_rows(config, job.log, job.data_seed)
        split.tell(job.log)
        return split.train, split.heldout, audit
    assert config.task is not None
    found = task_rows(task(config.task), job.inputs["corpus"], job.data_seed)
    return found.train, found.heldout, None


def _capped(rows: list[Row], labels: list[str], most: int, seed: int) -> list[Row]:
    """At most `most` rows of each label, in hash order."""
    taken: Counter[str] = Counter()
    kept = []
    for row in by_hash(rows, seed):
        if row["label"] in labels and taken[row["label"]] < most:
            taken[row["label"]] += 1
            kept.append(row)
    return kept


def _shared(rows: list[Row], share: float) -> list[Row]:
    """The first rows of each label, so many of them, in the order of the rows."""
    wanted = {label: max(1, round(share * count)) for label, count in Counter(row["label"] for row in rows).items()}
    taken: Counter[str] = Counter()
    kept = []
    for row in rows:
        if taken[row["label"]] < wanted[row["label"]]:
            taken[row["label"]] += 1
            kept.append(row)
    return kept


def _read_as(tok: Tokenizer, rows: list[Row], limit: int) -> tuple[list[Row], int]:
    """Rows with each text cut to what of it is read, and how many were cut."""
    read, cut = [], 0
    limit = max(1, limit - len(tok.framed([])))  # what stands around a text counts, too
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
