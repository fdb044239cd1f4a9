"""The stage of preference finetuning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tutelage.finetuning.common import account, adapt, device_and_autocast, load_base, run_metrics, write_model
from tutelage.finetuning.context import context_for, planned
from tutelage.finetuning.data import Row, write_rows
from tutelage.finetuning.examples import Encoded, asked_of, row_length
from tutelage.finetuning.prefer.config import PreferConfig
from tutelage.finetuning.prefer.defaults import KNOWN
from tutelage.finetuning.prefer.examples import encode_judged, encode_pairs, mismatched_examples
from tutelage.finetuning.prefer.objective import Judged, Preference
from tutelage.finetuning.prefer.pairs import length_bias
from tutelage.finetuning.prefer.reference import add_reference
from tutelage.finetuning.prefer.rows import prepare
from tutelage.finetuning.prefer.scores import SCORES, answer_sums, reference_sums, score_rows
from tutelage.finetuning.preflight.account import preferences_account
from tutelage.finetuning.preflight.tell import keep_and_tell
from tutelage.model.config import ModelConfig
from tutelage.model.io import weights_identity
from tutelage.store import format as f
from tutelage.store.device import choose_device
from tutelage.store.errors import ConfigError
from tutelage.store.events import EventLog
from tutelage.store.stage import Job
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.config import TrainingConfig
from tutelage.training.data.packing import PackedRows, pack
from tutelage.training.distributed.world import current_world
from tutelage.training.figures import evaluate_objective
from tutelage.training.live_rules import ADVICE, chosen_falls, length_drifts
from tutelage.training.loop import train
from tutelage.training.precision import resolve_precision

ONE_SIDED = 0.5  # warn from this difference of the shares of pairs with longer and with shorter chosen answers


def prefer(job: Job) -> dict[str, Any]:
    """Finetune the model to prefer the chosen answers; the reference, if any, is the initial model, frozen.

    The rows come from the user's file (`config.data`) or from the input `pairs`. `out` becomes a model directory with
    both splits under `data/`, and `data/scores.jsonl` with the log-probabilities of every held-out answer before and
    after. The returned `before` and `after` are metrics on the held-out rows; with a reference, `reward_accuracy` is .5
    before by construction, so `likelihood_accuracy` (which answer is more likely per token) shows what the initial
    model preferred. Raises ConfigError for a loss over whole batches with several processes.
    """
    config, instructed, out, work, log, seed = job.config, job.inputs["model"], job.out, job.work, job.log, job.seed
    known = KNOWN[config.loss]
    if known.whole_batch and current_world().size > 1:
        raise ConfigError(f"loss {config.loss!r} sorts a whole batch; run it in a single process")
    train_rows, heldout, audit = prepare(config, job)
    tok, model = Tokenizer.load(instructed), load_base(instructed, config.lora)
    encoded, held_encoded = (_encoded(config, tok, rows, model.config) for rows in (train_rows, heldout))
    context = context_for(config.context_length, encoded.needs, model.config, config.training, work, log, encoded.sizes)
    keep_and_tell(preferences_account(tok, train_rows, heldout, encoded, context, audit, config.columns), out, log)
    examples, supervision = encoded.fitting(context)
    held_examples, held_supervision = held_encoded.fitting(context)
    supervision.tell("preference training", context, log, dropped=False)  # the audit has reported it
    held_supervision.tell("preference held out", context, log)
    train_rows, heldout = supervision.kept_of(train_rows), held_supervision.kept_of(heldout)
    write_rows(out / "data" / "train.jsonl", train_rows)
    write_rows(out / "data" / "heldout.jsonl", heldout)
    length = row_length(examples + held_examples, context)
    both = pack(examples, length, tok.pad_id), pack(held_examples, length, tok.pad_id)
    mismatched = _mismatched(config, tok, train_rows, heldout, context)
    training = _with_precision(config.training, work, log)
    if known.reference:
        # The reference is the model without adapters: it is run before they are added, which saves a second copy.
        weights = weights_identity(instructed) + (f":{config.lora.quantisation}" if config.lora else "")
        parts = ("reference", "reference, held out", "reference, other prompts", "reference, other prompts, held out")
        for what, rows in zip(parts, (*both, *(mismatched or ())), strict=False):
            add_reference(model, weights, rows, training, work, log, what)
    objective = _objective(config, *both, mismatched, tok.stop_ids)
    device, autocast = device_and_autocast(training)
    size = max(1, config.training.batch_rows // config.training.accumulation)
    with autocast:
        before = evaluate_objective(model.to(device), objective, "validation", size)
    sums_before = reference_sums(both[1]) if known.reference else answer_sums(model, both[1], training)
    adapt(model, config.lora, seed, log, work)
    result = train(model, objective, training, work, log, seed, data_seed=job.data_seed)
    sums_after = answer_sums(model, both[1], training)
    write_model(model, tok, result.curve, out, instructed, log)
    write_rows(out / "data" / SCORES, score_rows(config, heldout, both[1], sums_before, sums_after))
    lengths = _answer_lengths(instructed, out, heldout[: config.drift_prompts], log)
    warn(before, result.final, lengths, log)
    return {
        "preference_loss": config.loss,
        **_counts(config, train_rows, heldout, log),
        **_told_apart(result.final, len(heldout)),
        "supervision": supervision.plain(),
        "before": before,
        "after": result.final,
        **lengths,
        **account(audit),
        **run_metrics(result),
    }


def _objective(
    config: PreferConfig, train_on: PackedRows, held: PackedRows, mismatched: tuple[PackedRows, PackedRows] | None,
    stop_ids: Sequence[int],
) -> Preference | Judged:  # fmt: skip
    if KNOWN[config.loss].judged:
        weights = config.desirable_weight, config.undesirable_weight
        return Judged(train_on, held, config.loss, config.beta, *weights, mismatched)  # type: ignore[arg-type]
    return Preference(
        train_on, held, config.loss, config.beta, config.label_smoothing, config.sft_weight,  # type: ignore[arg-type]
        config.gamma_beta_ratio, stop_ids,
    )  # fmt: skip


def _mismatched(
    config: PreferConfig, tok: Tokenizer, train_rows: list[Row], heldout: list[Row], context: int
) -> tuple[PackedRows, PackedRows] | None:
    """Mismatched answers, packed, for the reference point of `kto`: (training, held-out); None for other losses."""
    if config.loss != "kto":
        return None
    made = mismatched_examples(tok, train_rows, context), mismatched_examples(tok, heldout, context, train_rows)
    train_on, held = (pack(examples, row_length(examples, context), tok.pad_id) for examples in made)
    return train_on, held


def _counts(config: PreferConfig, train_rows: list[Row], heldout: list[Row], log: EventLog) -> dict[str, Any]:
    """Numbers of rows; for pairs also their length bias, with a warning if it is strong."""
    if KNOWN[config.loss].judged:
        good = sum(bool(row["label"]) for row in train_rows)
        return {"answers": len(train_rows), "heldout_answers": len(heldout), "desirable": good,
                "undesirable": len(train_rows) - good}  # fmt: skip
    bias = length_bias(train_rows)
    if abs(bias["chosen_longer"] - bias["chosen_shorter"]) > ONE_SIDED:
        which = "longer" if bias["chosen_longer"] > bias["chosen_shorter"] else "shorter"
        share = f"{100 * bias[f'chosen_{which}']:.0f} %"
        log.warn(
            f"in {share} of the training pairs the chosen answer is the {which} one: the model may learn length "
            "itself; compare the reward accuracy with that of length alone"
        )
    return {"pairs": len(train_rows), "heldout_pairs": len(heldout), **bias}


def _told_apart(figures: dict[str, float], n: int) -> dict[str, str]:
    """The held-out reward accuracy as text; a count if there are few pairs."""
    if "reward_accuracy" not in figures:
        return {}
    share = figures["reward_accuracy"]
    return {"told_apart": f.few_pairs(share, n, f.PAIRS_UNIT) or f.percent(share)}


def _with_precision(training: TrainingConfig, work: Path, log: EventLog) -> TrainingConfig:
    """The settings with `precision: auto` resolved, so that reference and training use the same one."""
    device = choose_device(training.device)
    precision = resolve_precision(training.precision, device, work, log, current_world())
    return training.model_copy(update={"precision": precision})


def warn(before: dict[str, float], after: dict[str, float], lengths: dict[str, float], log: EventLog) -> list[str]:
    """Warn of what a growing margin may hide; returns the warnings."""
    known = [{**figures, "margin": _margin(figures)} for figures in (before, after)]
    found = {"chosen_falls": chosen_falls(*known)}
    if lengths:
        found["length_drift"] = length_drifts(lengths["answer_tokens_before"], lengths["answer_tokens_after"])
    warnings = [f"{text}: {ADVICE[rule]}" for rule, text in found.items() if text]
    for message in warnings:
        log.warn(message)
    return warnings


def preflight(
    config: PreferConfig, tok: Tokenizer, model: ModelConfig, log: EventLog, data_seed: int
) -> dict[str, Any]:
    """Account of what would be trained on from the user's file. Raises InputError if it is unusable."""
    train_rows, heldout, audit = prepare(config, Job("audit", config, {}, Path(), Path(), log, 0, data_seed))
    encoded = _encoded(config, tok, train_rows, model)
    context = planned(config.context_length, encoded.needs, model, config.training, log, encoded.sizes)
    return preferences_account(tok, train_rows, heldout, encoded, context, audit, config.columns)


def _encoded(config: PreferConfig, tok: Tokenizer, rows: list[Row], model: ModelConfig) -> Encoded:
    return encode_judged(tok, rows) if KNOWN[config.loss].judged else encode_pairs(tok, rows, model.can_branch)


def _margin(figures: dict[str, float]) -> float:
    """Reward of good answers minus that of bad ones: pair by pair, or between the means if unpaired."""
    if "margin" in figures:
        return figures["margin"]
    return figures["chosen_reward"] - figures["rejected_reward"]


def _answer_lengths(instructed: Path, out: Path, rows: list[Row], log: EventLog) -> dict[str, float]:
    """Mean number of tokens of greedy answers to held-out prompts, before and after; empty without prompts."""
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
