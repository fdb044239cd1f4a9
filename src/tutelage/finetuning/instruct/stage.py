"""The stage of instruction finetuning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.finetuning.common import (
    account,
    adapt,
    load_base,
    read_corpus,
    run_metrics,
    task_rows,
    tell_left_out,
    write_model,
)
from tutelage.finetuning.context import context_for, planned
from tutelage.finetuning.data import Audit, Split, read_conversations, stratified_split, write_rows
from tutelage.finetuning.examples import encode_conversations, row_length, text_examples
from tutelage.finetuning.instruct.config import InstructConfig
from tutelage.finetuning.instruct.objective import Instruction
from tutelage.finetuning.instruct.samples import Samples
from tutelage.finetuning.preflight.account import conversations_account
from tutelage.finetuning.preflight.tell import keep_and_tell
from tutelage.model.config import ModelConfig
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.hashing import by_hash
from tutelage.store.stage import Job
from tutelage.tasks import Examples, task
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.data.packing import pack
from tutelage.training.loop import train


def why_not(config: InstructConfig, inputs: Mapping[str, Path]) -> str | None:
    """Why the corpus is unsuitable for the stage, as a sentence; None if it is suitable."""
    if config.data is not None or config.task is None:
        return None
    return _too_few(task_rows(task(config.task), inputs.get("corpus"), 0), config)


def _too_few(found: Examples, config: InstructConfig) -> str | None:
    if len(found.train) >= config.min_rows and found.heldout:
        return None
    return (
        f"the corpus yields {len(found.train)} training and {len(found.heldout)} held-out rows for the task "
        f"{config.task!r}; at least {config.min_rows} and 1 are needed"
    )


def instruct(job: Job) -> dict[str, Any]:
    """Finetune the model on the answers of conversations.

    `out` becomes a model directory with `data/train.jsonl` and `data/heldout.jsonl`. Raises InputError for too
    few rows.
    """
    rows, audit = _rows(job.config, job)
    return train_conversations(job, rows, audit, Tokenizer.load(job.inputs["model"]))


def train_conversations(job: Job, rows: Examples, audit: Audit | None, tok: Tokenizer) -> dict[str, Any]:
    """Train on the answers of the rows, and save the model with this tokenizer; see `instruct`."""
    config, base, out, log, seed = job.config, job.inputs["model"], job.out, job.log, job.seed
    train_rows, heldout = rows.train, rows.heldout
    model = load_base(base, config.lora)
    encoded, held_encoded = (encode_conversations(tok, each, config.learn) for each in (train_rows, heldout))
    context = context_for(config.context_length, encoded.needs, model.config, config.training, job.work, log)
    keep_and_tell(
        conversations_account(tok, train_rows, heldout, encoded, context, audit, config.columns, config.learn), out, log
    )
    examples, supervision = encoded.fitting(context)
    held_examples, held_supervision = held_encoded.fitting(context)
    supervision.tell("instruction training", context, log, dropped=False)  # the audit has reported it
    held_supervision.tell("instruction held out", context, log)
    train_rows, heldout = supervision.kept_of(train_rows), held_supervision.kept_of(heldout)
    write_rows(out / "data" / "train.jsonl", train_rows)
    write_rows(out / "data" / "heldout.jsonl", heldout)
    if config.replay:
        texts = by_hash(read_corpus(job.inputs["corpus"], "train", ["id", "text"]), job.data_seed)
        replayed = text_examples(tok, [row["text"] for row in texts], context, int(config.replay * supervision.tokens))
        log.note(f"{len(replayed)} pieces of pretraining text are mixed in")
        examples = examples + replayed
    length = row_length(examples + held_examples, context)
    shown = Samples(tok, heldout[: config.samples], config.sample_every, log) if config.samples else None
    packed, held_packed = pack(examples, length, tok.pad_id), pack(held_examples, length, tok.pad_id)
    objective = Instruction(packed, held_packed, config.neftune_alpha, shown, tok.stop_ids)
    adapt(model, config.lora, seed, log, job.work)
    result = train(model, objective, config.training, job.work, log, seed, data_seed=job.data_seed)
    write_model(model, tok, result.curve, out, base, log)
    return {
        "rows": len(train_rows),
        "heldout_rows": len(heldout),
        "left_out": rows.left_out,
        **account(audit),
        "supervision": supervision.plain(),
        **run_metrics(result),
    }


def preflight(
    config: InstructConfig, tok: Tokenizer, model: ModelConfig, log: EventLog, data_seed: int
) -> dict[str, Any]:
    """Account of what would be trained on from the user's file. Raises InputError if it is unusable."""
    rows, audit = _rows(config, Job("audit", config, {}, Path(), Path(), log, 0, data_seed))
    encoded = encode_conversations(tok, rows.train, config.learn)
    context = planned(config.context_length, encoded.needs, model, config.training, log)
    return conversations_account(tok, rows.train, rows.heldout, encoded, context, audit, config.columns, config.learn)


def own_rows(config: InstructConfig, log: EventLog, data_seed: int) -> tuple[Split, Audit]:
    """The user's file, split, and its audit. Raises InputError if it is unusable."""
    assert config.data is not None
    rows, audit = read_conversations(Path(config.data).expanduser(), log, config.columns)
    return stratified_split(rows, data_seed, config.heldout), audit


def _rows(config: InstructConfig, job: Job) -> tuple[Examples, Audit | None]:
    if config.data is not None:
        split, audit = own_rows(config, job.log, job.data_seed)
        split.tell(job.log)
        found = Examples(split.train, split.heldout)
    else:
        assert config.task is not None
        audit = None
        found = task_rows(task(config.task), job.inputs.get("corpus"), job.data_seed)
        if reason := _too_few(found, config):
            raise InputError(reason, hint="lower min_rows")
        tell_left_out(found, job.log)
    return limited(config, found, job.log, job.data_seed), audit


def limited(config: InstructConfig, found: Examples, log: EventLog, data_seed: int) -> Examples:
    """At most `max_rows` training and `max_heldout` held-out rows, in hash order."""
    train_rows, heldout = found.train, found.heldout
    if config.max_rows and len(train_rows) > config.max_rows:
        log.note(f"{len(train_rows) - config.max_rows} training rows beyond max_rows are left out")
        train_rows = by_hash(train_rows, data_seed)[: config.max_rows]
    return Examples(train_rows, by_hash(heldout, data_seed)[: config.max_heldout], found.left_out)
