"""The instruction stage: a model and conversations in, a model that answers out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tutelage.finetuning.common import (
    account,
    adapt,
    context_of,
    read_corpus,
    run_metrics,
    task_rows,
    tell_left_out,
    write_model,
)
from tutelage.finetuning.data import Audit, Split, read_conversations, stratified_split, write_rows
from tutelage.finetuning.examples import instruction_examples, row_length, text_examples
from tutelage.finetuning.instruct.config import InstructConfig
from tutelage.finetuning.instruct.objective import Instruction
from tutelage.model.io import load_model
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.hashing import by_hash
from tutelage.store.stage import Job
from tutelage.tasks import Examples, task
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.data.packing import pack
from tutelage.training.loop import train


def why_not(config: InstructConfig, inputs: Mapping[str, Path]) -> str | None:
    """Why this corpus cannot feed the stage, in one sentence; None if it can."""
    if config.data is not None or config.task is None:
        return None
    return _too_few(task_rows(task(config.task), inputs["corpus"], 0), config)


def _too_few(found: Examples, config: InstructConfig) -> str | None:
    if len(found.train) >= config.min_rows and found.heldout:
        return None
    return (
        f"the corpus yields {len(found.train)} training and {len(found.heldout)} held-out rows for the task "
        f"{config.task!r}; at least {config.min_rows} and 1 are needed"
    )


def instruct(job: Job) -> dict[str, Any]:
    """Finetune the model on the answers of conversations, and on nothing else of them.

    `out` becomes a model directory with `data/train.jsonl` and `data/heldout.jsonl`. Raises InputError where there are
    too few rows.
    """
    config, base, out, log, seed = job.config, job.inputs["model"], job.out, job.log, job.seed
    rows, audit = _rows(config, job)
    train_rows, heldout = rows.train, rows.heldout
    tok, model = Tokenizer.load(base), load_model(base)
    context = context_of(config.context_length, model.config, log)
    examples, supervision = instruction_examples(tok, train_rows, context)
    held_examples, held_supervision = instruction_examples(tok, heldout, context)
    supervision.tell("instruction training", context, log)
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
    train_on, held = (pack(part, length, tok.pad_id) for part in (examples, held_examples))
    objective = Instruction(train_on, held, tok.stop_ids)
    adapt(model, config.lora, seed, log)
    result = train(model, objective, config.training, job.work, log, seed, data_seed=job.data_seed)
    write_model(model, tok, result.curve, out, base)
    return {
        "rows": len(train_rows),
        "heldout_rows": len(heldout),
        "left_out": rows.left_out,
        **account(audit),
        "supervision": supervision.plain(),
        **run_metrics(result),
    }


def own_rows(config: InstructConfig, log: EventLog, data_seed: int) -> tuple[Split, Audit]:
    """The user's file, split, and the account of it. Raises InputError where it cannot be used."""
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
        found = task_rows(task(config.task), job.inputs["corpus"], job.data_seed)
        if reason := _too_few(found, config):
            raise InputError(reason, hint="lower min_rows")
        tell_left_out(found, job.log)
    train_rows, heldout = found.train, found.heldout
    if config.max_rows and len(train_rows) > config.max_rows:
        job.log.note(f"{len(train_rows) - config.max_rows} training rows are over max_rows and left out")
        train_rows = by_hash(train_rows, job.data_seed)[: config.max_rows]
    return Examples(train_rows, by_hash(heldout, job.data_seed)[: config.max_heldout], found.left_out), audit
