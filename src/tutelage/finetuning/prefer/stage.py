"""The preference stage: the instructed model and ranked pairs of answers in, a model that prefers out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.finetuning.common import account, adapt, context_of, device_and_autocast, run_metrics, write_model
from tutelage.finetuning.data import Audit, Row, Split, read_preferences, read_rows, stratified_split, write_rows
from tutelage.finetuning.examples import asked_of, preference_examples, row_length
from tutelage.finetuning.prefer.config import PreferConfig
from tutelage.finetuning.prefer.objective import Preference
from tutelage.finetuning.prefer.reference import add_reference
from tutelage.model.io import load_model, weights_identity
from tutelage.store.device import choose_device
from tutelage.store.events import EventLog
from tutelage.store.hashing import by_hash
from tutelage.store.stage import Job
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.config import TrainingConfig
from tutelage.training.data.packing import pack
from tutelage.training.distributed.world import current_world
from tutelage.training.figures import evaluate_objective
from tutelage.training.live_rules import ADVICE, chosen_falls, length_drifts
from tutelage.training.loop import train
from tutelage.training.precision import resolve_precision


def prefer(job: Job) -> dict[str, Any]:
    """Finetune the model to prefer the chosen answers, with itself, frozen, as reference.

    The pairs are the user's own file (`config.data`) or those of the part `pairs`. `out` becomes a model directory with
    both splits under `data/`. The returned `before` and `after` are the same figures on the held-out pairs;
    `heldout_reward_accuracy` is .5 before by construction, so `likelihood_accuracy` (which answer is likelier per
    token) tells what the model itself held before.
    """
    config, instructed, out, work, log, seed = job.config, job.inputs["model"], job.out, job.work, job.log, job.seed
    train_rows, heldout, audit = _rows(config, job)
    tok, model = Tokenizer.load(instructed), load_model(instructed)
    context = context_of(config.context_length, model.config, log)
    examples, supervision = preference_examples(tok, train_rows, context)
    held_examples, held_supervision = preference_examples(tok, heldout, context)
    supervision.tell("preference training", context, log)
    held_supervision.tell("preference held out", context, log)
    train_rows, heldout = supervision.kept_of(train_rows), held_supervision.kept_of(heldout)
    write_rows(out / "data" / "train.jsonl", train_rows)
    write_rows(out / "data" / "heldout.jsonl", heldout)
    length = row_length(examples + held_examples, context)
    objective = Preference(
        pack(examples, length, tok.pad_id),
        pack(held_examples, length, tok.pad_id),
        config.loss,
        config.beta,
        config.label_smoothing,
        config.sft_weight,
        tok.stop_ids,
    )
    training = _decided(config.training, work, log)
    # The reference is the model without adapters, so it is asked before they are put on: no second copy.
    weights = weights_identity(instructed)
    for rows in objective.rows.values():
        add_reference(model, weights, rows, training, work, log)
    device, autocast = device_and_autocast(training)
    size = max(1, config.training.batch_rows // config.training.accumulation)
    with autocast:
        before = evaluate_objective(model.to(device), objective, "validation", size)
    adapt(model, config.lora, seed, log)
    result = train(model, objective, training, work, log, seed, data_seed=job.data_seed)
    write_model(model, tok, result.curve, out, instructed)
    lengths = _answer_lengths(instructed, out, heldout[: config.drift_prompts], log)
    warn(before, result.final, lengths, log)
    return {
        "pairs": len(train_rows),
        "heldout_pairs": len(heldout),
        "supervision": supervision.plain(),
        "before": before,
        "after": result.final,
        **lengths,
        **account(audit),
        **run_metrics(result),
    }


def _decided(training: TrainingConfig, work: Path, log: EventLog) -> TrainingConfig:
    """The settings with the precision that `auto` means for this run, so that reference and training share it."""
    device = choose_device(training.device)
    precision = resolve_precision(training.precision, device, work, log, current_world())
    return training.model_copy(update={"precision": precision})


def warn(before: dict[str, float], after: dict[str, float], lengths: dict[str, float], log: EventLog) -> list[str]:
    """Say what a good-looking margin may hide; returns what was said."""
    found = {"chosen_falls": chosen_falls(before, after)}
    if lengths:
        found["length_drift"] = length_drifts(lengths["answer_tokens_before"], lengths["answer_tokens_after"])
    said = [f"{text}: {ADVICE[rule]}" for rule, text in found.items() if text]
    for message in said:
        log.warn(message)
    return said


def own_rows(config: PreferConfig, log: EventLog, data_seed: int) -> tuple[Split, Audit]:
    """The user's file, split, and the account of it. Raises InputError where it cannot be used."""
    assert config.data is not None
    rows, audit = read_preferences(Path(config.data).expanduser(), log, config.columns)
    return stratified_split(rows, data_seed, config.heldout), audit


def _rows(config: PreferConfig, job: Job) -> tuple[list[Row], list[Row], Audit | None]:
    audit = None
    if config.data is not None:
        split, audit = own_rows(config, job.log, job.data_seed)
        split.tell(job.log)
        train_rows, heldout = split.train, split.heldout
    else:
        train_rows, heldout = (read_rows(job.inputs["pairs"] / f"{name}.jsonl") for name in ("train", "heldout"))
    if config.max_pairs and len(train_rows) > config.max_pairs:
        job.log.note(f"{len(train_rows) - config.max_pairs} training pairs are over max_pairs and left out")
        train_rows = by_hash(train_rows, job.data_seed)[: config.max_pairs]
    return train_rows, heldout, audit


def _answer_lengths(instructed: Path, out: Path, rows: list[Row], log: EventLog) -> dict[str, float]:
    """Mean tokens of the greedy answers to held-out prompts before and after; empty without prompts."""
    if not rows:
        return {}
    from tutelage.inference.language_model import load
    from tutelage.inference.sampling import Sampling

    asked = [asked_of(row) for row in rows]
    found = {}
    for done, (name, directory) in enumerate((("before", instructed), ("after", out))):
        answers = load(directory).chat_batch(asked, Sampling(max_tokens=64))
        found[f"answer_tokens_{name}"] = round(sum(len(answer.ids) for answer in answers) / len(answers), 2)
        log.progress("answer lengths", done + 1, 2, "models")
    return found
