"""The stage of finetuning for translation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.finetuning.context import planned
from tutelage.finetuning.data import Audit, Split, stratified_split
from tutelage.finetuning.data.translations import as_questions, read_translations
from tutelage.finetuning.examples import encode_conversations
from tutelage.finetuning.instruct.stage import limited, train_conversations
from tutelage.finetuning.preflight.account import conversations_account
from tutelage.finetuning.translate.config import NAMED, NAMELESS, TranslateConfig
from tutelage.model.config import ModelConfig
from tutelage.store.errors import ConfigError
from tutelage.store.events import EventLog
from tutelage.store.stage import Job
from tutelage.tasks import Examples
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.tokenizer.translation import Translation, with_translation


def translate(job: Job) -> dict[str, Any]:
    """Finetune the model to translate; the prompt is saved with it.

    Rows of `data/*.jsonl` also contain the `source`. Raises InputError for too few rows.
    """
    split, audit, how = _split(job.config, job.log, job.data_seed)
    split.tell(job.log)
    job.log.note(f"prompt: {how.ask('...')!r}" + (f" and {how.ask('...', True)!r}" if how.both else ""))
    rows = _asked(job.config, split, how, job.log, job.data_seed)
    tok = with_translation(Tokenizer.load(job.inputs["model"]), how)
    return {"prompt": how.prompt, "languages": [how.source, how.target], **train_conversations(job, rows, audit, tok)}


def preflight(
    config: TranslateConfig, tok: Tokenizer, model: ModelConfig, log: EventLog, data_seed: int
) -> dict[str, Any]:
    """Account of what would be trained on from the user's file. Raises InputError if it is unusable."""
    split, audit, how = _split(config, log, data_seed)
    rows = _asked(config, split, how, log, data_seed)
    encoded = encode_conversations(tok, rows.train, config.learn)
    context = planned(config.context_length, encoded.needs, model, config.training, log)
    return conversations_account(tok, rows.train, rows.heldout, encoded, context, audit, config.columns, config.learn)


def own_rows(config: TranslateConfig, log: EventLog, data_seed: int) -> tuple[Split, Audit]:
    """The user's pairs, split, and their audit. Raises InputError if they are unusable."""
    split, audit, _ = _split(config, log, data_seed)
    return split, audit


def _split(config: TranslateConfig, log: EventLog, data_seed: int) -> tuple[Split, Audit, Translation]:
    """The pairs are split before they become prompts, so that both directions are on the same side."""
    assert config.data is not None
    target = Path(config.target_file).expanduser() if config.target_file else None
    rows, audit, found = read_translations(Path(config.data).expanduser(), log, config.columns, target)
    source, target_language = config.source_language or found[0], config.target_language or found[1]
    named = bool(source and target_language)
    if config.reverse and not named:
        raise ConfigError(
            "reverse requires the names of both languages",
            hint="--set source_language=English --set target_language=German",
        )
    how = Translation(config.prompt or (NAMED if named else NAMELESS), source, target_language, config.reverse)
    if config.reverse and how.ask("x") == how.ask("x", True):
        raise ConfigError("prompt is the same for both directions", hint="it must contain {target}")
    return stratified_split(rows, data_seed, config.heldout, lambda row: str(row["source"])), audit, how


def _asked(config: TranslateConfig, split: Split, how: Translation, log: EventLog, data_seed: int) -> Examples:
    pairs = limited(config, Examples(split.train, split.heldout), log, data_seed)
    train, heldout = (as_questions(rows, how.ask, how.both) for rows in (pairs.train, pairs.heldout))
    return Examples(train, heldout)
