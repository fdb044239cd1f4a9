"""The instruction stage: a base model and pairs of question and answer in, a model that answers out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from tutelage.finetuning.common import adapt, context_of, read_corpus, run_metrics, write_model
from tutelage.finetuning.config import InstructConfig
from tutelage.finetuning.data import Row, split, write_rows
from tutelage.finetuning.data.plain_rows import conversation_rows as read_conversations
from tutelage.finetuning.docstrings import by_hash, docstring_pairs
from tutelage.finetuning.examples import instruction_examples, row_length, text_examples
from tutelage.finetuning.objectives import Instruction
from tutelage.model.io import load_model
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.data.packing import pack
from tutelage.training.loop import train

_COLUMNS = ["id", "name", "signature", "summary"]


def why_not(corpus: Path, config: InstructConfig | None = None) -> str | None:
    """Why this corpus cannot feed the stage, in one sentence; None if it can."""
    config = config or InstructConfig()
    if config.data is not None:
        return None
    train_rows, heldout, _ = corpus_pairs(config, corpus, seed=0)
    if len(train_rows) >= config.min_pairs and heldout:
        return None
    return (
        f"the corpus yields {len(train_rows)} training and {len(heldout)} held-out pairs of signature and "
        f"one-line summary; at least {config.min_pairs} and 1 are needed"
    )


def corpus_pairs(
    config: InstructConfig, corpus: Path, seed: int
) -> tuple[list[Row], list[Row], dict[str, Counter[str]]]:
    """(training pairs, held-out pairs, what was left out of each and why); no response is in both."""
    train_rows, without = docstring_pairs(read_corpus(corpus, "train", _COLUMNS), seed, config.max_pairs)
    trained = [row["response"] for row in train_rows]
    heldout, also = docstring_pairs(read_corpus(corpus, "heldout", _COLUMNS), seed, config.max_heldout, unseen=trained)
    return [*train_rows], [*heldout], {"train": without, "heldout": also}


def instruct(
    config: InstructConfig, corpus: Path, base: Path, out: Path, work: Path, log: EventLog, seed: int
) -> dict[str, Any]:
    """Finetune the base model on the answers of a conversation, and on nothing else of it.

    `out` becomes a model directory with `data/train.jsonl` and `data/heldout.jsonl`
    ({"id","prompt","response","name","signature"}). Raises InputError where there are too few pairs.
    """
    removed: dict[str, Counter[str]] = {}
    if config.data is not None:
        train_rows, heldout = split(read_conversations(Path(config.data), log), seed)
    else:
        train_rows, heldout, removed = corpus_pairs(config, corpus, seed)
        if len(train_rows) < config.min_pairs or not heldout:
            raise InputError(why_not(corpus, config) or "too few pairs", hint="lower min_pairs")
        for name, counts in removed.items():
            left_out = "; ".join(f"{count} {reason}" for reason, count in counts.most_common())
            log.note(f"{name} pairs left out: {left_out or 'none'}")
    tok, model = Tokenizer.load(base), load_model(base)
    context = context_of(config.context_length, model.config, log)
    examples, supervision = instruction_examples(tok, train_rows, context)
    held_examples, held_supervision = instruction_examples(tok, heldout, context)
    supervision.tell("instruction training", context, log)
    held_supervision.tell("instruction held out", context, log)
    write_rows(out / "data" / "train.jsonl", train_rows)
    write_rows(out / "data" / "heldout.jsonl", heldout)
    if config.replay:
        texts = by_hash(read_corpus(corpus, "train", ["id", "text"]), seed)
        replayed = text_examples(tok, [row["text"] for row in texts], context, int(config.replay * supervision.tokens))
        log.note(f"{len(replayed)} pieces of pretraining text are mixed in")
        examples = examples + replayed
    length = row_length(examples + held_examples, context)
    objective = Instruction(pack(examples, length, tok.pad_id), pack(held_examples, length, tok.pad_id))
    adapt(model, config.lora, seed, log)
    result = train(model, objective, config.training, work, log, seed)
    write_model(model, tok, result, out, base)
    return {
        "pairs": len(train_rows),
        "heldout_pairs": len(heldout),
        "removed": {name: dict(sorted(counts.items())) for name, counts in removed.items()},
        "supervision": supervision.plain(),
        **run_metrics(result),
    }
