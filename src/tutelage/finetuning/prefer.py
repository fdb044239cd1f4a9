"""The preference stage: the instructed model and ranked pairs of answers in, a model that prefers out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.finetuning.common import adapt, context_of, device_and_autocast, run_metrics, write_model
from tutelage.finetuning.config import PreferConfig
from tutelage.finetuning.data import Row, read_rows, split, write_rows
from tutelage.finetuning.data.plain_rows import preference_rows as read_preferences
from tutelage.finetuning.examples import preference_examples, row_length
from tutelage.finetuning.objectives import Preference
from tutelage.finetuning.reference import add_reference
from tutelage.model.io import load_model
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.hashing import sha256_file
from tutelage.tokenizer.messages import Message
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.data.packing import pack
from tutelage.training.figures import evaluate_objective
from tutelage.training.loop import train

CHOSEN_FALL = 0.1  # nats per token
LENGTH_DRIFT = 0.25  # of the length before


def prefer(
    config: PreferConfig,
    instructed: Path,
    pairs: Path | None,
    out: Path,
    work: Path,
    log: EventLog,
    seed: int,
) -> dict[str, Any]:
    """Finetune the instructed model to prefer the chosen answers, with itself, frozen, as reference.

    `pairs`: directory of `train.jsonl` and `heldout.jsonl`; not needed where `config.data` names the user's own
    file. `out` becomes a model directory with both files under `data/`. The returned `before` and `after` are
    the same figures on the held-out pairs; `heldout_reward_accuracy` is .5 before by construction, so
    `likelihood_accuracy` (which answer is likelier per token) tells what the model itself held before.
    """
    train_rows, heldout = _rows(config, pairs, log, seed)
    tok, model = Tokenizer.load(instructed), load_model(instructed)
    context = context_of(config.context_length, model.config, log)
    examples, supervision = preference_examples(tok, train_rows, context)
    held_examples, held_supervision = preference_examples(tok, heldout, context)
    supervision.tell("preference training", context, log)
    held_supervision.tell("preference held out", context, log)
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
    )
    # The reference is the model without adapters, so it is asked before they are put on: no second copy.
    weights = sha256_file(instructed / "model.safetensors")
    for rows in objective.rows.values():
        add_reference(model, weights, rows, config.training, work, log)
    device, autocast = device_and_autocast(config.training)
    size = max(1, config.training.batch_rows // config.training.accumulation)
    with autocast:
        before = evaluate_objective(model.to(device), objective, "validation", size)
    adapt(model, config.lora, seed, log)
    result = train(model, objective, config.training, work, log, seed)
    write_model(model, tok, result, out, instructed)
    lengths = _answer_lengths(instructed, out, heldout[: config.drift_prompts], log)
    warn(before, result.final, lengths, log)
    return {
        "pairs": len(train_rows),
        "heldout_pairs": len(heldout),
        "supervision": supervision.plain(),
        "before": before,
        "after": result.final,
        **lengths,
        **run_metrics(result),
    }


def warn(before: dict[str, float], after: dict[str, float], lengths: dict[str, float], log: EventLog) -> list[str]:
    """Say what a good-looking margin may hide; returns what was said."""
    said = []
    fall = before["chosen_logp"] - after["chosen_logp"]
    if fall > CHOSEN_FALL and after["margin"] > before["margin"]:
        said.append(
            f"the margin rises while the chosen answers themselves become less likely ({fall:.2f} nats per "
            "token): raise sft_weight or beta, or lower learning_rate"
        )
    if lengths:
        old, new = lengths["answer_tokens_before"], lengths["answer_tokens_after"]
        if abs(new - old) > LENGTH_DRIFT * max(old, 1.0):
            said.append(f"answers went from {old:.1f} to {new:.1f} tokens: length drifts")
    for message in said:
        log.warn(message)
    return said


def _rows(config: PreferConfig, pairs: Path | None, log: EventLog, seed: int) -> tuple[list[Row], list[Row]]:
    if config.data is not None:
        return split(read_preferences(Path(config.data), log), seed)
    if pairs is None:
        raise InputError("preference finetuning has no pairs", hint="make pairs first or set prefer.data")
    return read_rows(pairs / "train.jsonl"), read_rows(pairs / "heldout.jsonl")


def _answer_lengths(instructed: Path, out: Path, rows: list[Row], log: EventLog) -> dict[str, float]:
    """Mean tokens of the greedy answers to held-out prompts before and after; empty without prompts."""
    if not rows:
        return {}
    from tutelage.inference.language_model import load
    from tutelage.inference.sampling import Sampling

    asked = [[Message("user", row["prompt"])] for row in rows]
    found = {}
    for done, (name, directory) in enumerate((("before", instructed), ("after", out))):
        answers = load(directory).chat_batch(asked, Sampling(max_tokens=64))
        found[f"answer_tokens_{name}"] = round(sum(len(answer.ids) for answer in answers) / len(answers), 2)
        log.progress("answer lengths", done + 1, 2, "models")
    return found
