"""Account of the data before continued pretraining: documents, windows, replay, overlap."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tutelage.corpus.document import Document
from tutelage.corpus.split import leaked
from tutelage.corpus.stage import build_corpus
from tutelage.finetuning.common import read_corpus
from tutelage.finetuning.context import keeps
from tutelage.finetuning.data import Row
from tutelage.finetuning.data.audit import listed
from tutelage.finetuning.further.config import FurtherConfig
from tutelage.finetuning.further.rows import Mixed, document_examples, mixed, replay_examples
from tutelage.finetuning.further.spec import corpus_of
from tutelage.finetuning.preflight.account import begun, concluded
from tutelage.finetuning.preflight.findings import Finding, Found, finding
from tutelage.finetuning.preflight.sample import runs
from tutelage.model.config import ModelConfig
from tutelage.store.events import EventLog
from tutelage.store.hashing import by_hash
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.data.packing import best_fit
from tutelage.training.setup import total_steps

OVERLAP = 0.1  # count a document if this share of it occurs in the other text
MANY_PASSES = 4  # over the replayed text (Muennighoff et al. 2023)
SHORT_TOKENS = 2.5  # bytes per token: below, the tokenizer does not fit the text
SIDES = ("train", "heldout")


def preflight(
    config: FurtherConfig, tok: Tokenizer, model: ModelConfig, log: EventLog, data_seed: int
) -> dict[str, Any]:
    """Account of the user's text, read and deduplicated as in the run. Raises InputError if it is unusable."""
    sources = {"texts": config.data, "replay": config.replay.source, "general": config.general}
    context = min(config.context_length, model.max_position_embeddings)
    with tempfile.TemporaryDirectory() as folder:
        made = {}
        for role, source in sources.items():
            if source is not None:
                made[role] = Path(folder) / role
                build_corpus(corpus_of(source, config), made[role], log, data_seed)
        old = read_corpus(made["replay"], "train", ["id", "text"]) if "replay" in made and config.replay.share else []
        train, held = (by_hash(read_corpus(made["texts"], side, ["id", "text"]), data_seed) for side in SIDES)
        mix = mixed(
            document_examples(tok, train, context),
            replay_examples(tok, by_hash(old, data_seed), context),
            config.replay.share,
        )
        return texts_account(tok, config, made, train, held[: config.max_heldout], mix, context)


def texts_account(
    tok: Tokenizer, config: FurtherConfig, corpora: Mapping[str, Path], train: Sequence[Row], held: Sequence[Row],
    mix: Mixed, context: int,
) -> Found:  # fmt: skip
    """Account of the training documents and the evaluated held-out ones. corpora: by role (`texts`, `replay`,
    `general`). mix: the training examples; if they contain no old text, the replayed text is not known yet."""
    card = json.loads((corpora["texts"] / "card.json").read_text(encoding="utf-8"))
    found = begun("documents", train, held, None, {})
    found["corpus"] = _read(card)
    whole = [len(ids) + 1 for ids in tok.encode_batch([row["text"] for row in train])]
    replay = _replay(config, mix)
    windows = len(best_fit([example.length for example in mix.examples], context))
    tokens = mix.new_tokens + replay["tokens"]
    if not replay["known"]:
        windows = round(windows * tokens / mix.new_tokens)
    steps = total_steps(config.training, windows)
    size = sum(len(row["text"].encode()) for row in train)
    found["windows"] = {
        "tokens": mix.new_tokens, "bytes_per_token": round(size / max(1, mix.new_tokens), 3), "context": context,
        "windows": windows, "filled": round(tokens / (windows * context), 4),
        "median": round(median(whole)), "longest": max(whole), "keeps_95": keeps(whole, 0.95),
        "cut_into_pieces": sum(length > context for length in whole), "steps": steps,
        "passes": round(steps * config.training.batch_rows / windows, 2),
    }  # fmt: skip
    found["replay"] = replay | {"passes": round(replay["passes"] * found["windows"]["passes"], 2)}
    found["overlap"] = _overlap(corpora, train, held)
    found["lines"], found["said"] = _lines(found), _said(found)
    ids = mix.examples[0].segments[0].tokens
    found["sample"] = [{"title": "", "runs": runs(tok, ids, [0.0, *[1.0] * (len(ids) - 1)])}]
    return concluded(found, _findings(found, config))


def _read(card: Mapping[str, Any]) -> dict[str, Any]:
    """Documents read, and numbers removed by reason."""
    removed = {reason: count for step in card["steps"] for reason, count in step["removed"].items()}
    return {
        "files": card["files"], "documents": card["steps"][0]["documents_in"], "removed": removed,
        "unreadable": card["malformed_count"], "skipped": card["skipped"], "ignored_fields": card["ignored_fields"],
    }  # fmt: skip


def _replay(config: FurtherConfig, mix: Mixed) -> dict[str, Any]:
    """share: of all tokens. passes: over the replayed text per pass over all. known: whether it exists already; if not,
    figures are those requested, with `sampled.tokens` tokens to replay."""
    wanted, source = config.replay.share, config.replay.source
    known = bool(mix.old_tokens) or not wanted
    tokens = mix.old_tokens if known else round(wanted / (1 - wanted) * mix.new_tokens)
    return {
        "share": round(tokens / max(1, tokens + mix.new_tokens), 4), "tokens": tokens,
        "passes": mix.old_passes if known else tokens / max(1, config.sampled.tokens),
        "known": known, "source": "" if not wanted else "own text" if source is None else "file",
    }  # fmt: skip


def _overlap(corpora: Mapping[str, Path], train: Sequence[Row], held: Sequence[Row]) -> dict[str, list[int]]:
    """[n, total]: evaluated documents of which a tenth or more is in training text: held-out new text in the new
    and in the replayed text, and for general text in the new."""
    found = {"heldout_in_training": _within(train, held)}
    if "replay" in corpora:
        found["heldout_in_replay"] = _within(read_corpus(corpora["replay"], "train", ["id", "text"]), held)
    if (general := _general(corpora)) is not None:
        found["general_in_training"] = _within(train, general)
    return found


def _general(corpora: Mapping[str, Path]) -> list[Row] | None:
    if "general" in corpora:
        return [row for side in SIDES for row in read_corpus(corpora["general"], side, ["id", "text"])]
    return read_corpus(corpora["replay"], "heldout", ["id", "text"]) if "replay" in corpora else None


def _within(texts: Sequence[Row], documents: Sequence[Row]) -> list[int]:
    sides = ([Document(row["id"], row["text"], "") for row in rows] for rows in (texts, documents))
    return [sum(share > OVERLAP for share in leaked(*sides)), len(documents)]


def _said(found: Found) -> str:
    w, replay = found["windows"], found["replay"]
    said = (
        f"{w['tokens']:,} tokens of new text, all of them targets, in windows of {w['context']} ({w['windows']:,} with "
        f"the replayed text, {w['filled']:.0%} full)"
    )
    return f"{said}; {replay['tokens']:,} tokens are replayed ({replay['share']:.0%} of all)"


def _lines(found: Found) -> list[tuple[str, list[str]]]:
    read, w, replay, split = found["corpus"], found["windows"], found["replay"], found["split"]
    texts = [f"{read['documents']:,} documents from {read['files']:,} files; {split['train']:,} for training, "
             f"{split['heldout']:,} held out for evaluation"]  # fmt: skip
    if read["removed"]:
        texts.append(listed([f"{count:,} dropped: {reason}" for reason, count in read["removed"].items()], 8, "; "))
    if read["unreadable"] or read["skipped"]:
        skipped = {**({"unreadable places": read["unreadable"]} if read["unreadable"] else {}),
                   **read["skipped"]}  # fmt: skip
        texts.append(listed([f"{count:,} {what} skipped" for what, count in skipped.items()], 8, "; "))
    if read["ignored_fields"]:
        texts.append(f"unused fields: {listed(read['ignored_fields'], 12)}")
    windows = [
        f"{w['tokens']:,} tokens, all of them targets; {w['bytes_per_token']:g} bytes per token",
        f"documents: median {w['median']} tokens, longest {w['longest']:,}; {w['cut_into_pieces']} longer than "
        f"{w['context']} are split, without loss",
    ]
    seen = [f"{w['windows']:,}, each of {w['context']} tokens, {w['filled']:.0%} full; {w['steps']:,} steps are "
            f"{w['passes']:g} passes"]  # fmt: skip
    old = "nothing is replayed"
    if replay["tokens"]:
        what = {"file": "text of your own", "own text": "text sampled from the model"}[replay["source"]]
        about = "" if replay["known"] else "about "
        old = (f"{about}{replay['tokens']:,} tokens, {replay['share']:.0%} of all: {what}, {about}"
               f"{replay['passes']:g} passes over it")  # fmt: skip
    overlap = [f"{count} of {total} {_PLACES[name]}" for name, (count, total) in found["overlap"].items()]
    return [("Text", texts), ("Tokens", windows), ("Windows", seen), ("Replay", [old]), ("Overlap", overlap)]


_PLACES = {
    "heldout_in_training": "held-out documents overlap with training text (by a tenth or more)",
    "heldout_in_replay": "held-out documents overlap with the replayed text",
    "general_in_training": "documents of general text overlap with training text",
}


def _findings(found: Found, config: FurtherConfig) -> list[Finding]:
    made, w, replay, read = [], found["windows"], found["replay"], found["corpus"]
    double = sum(count for reason, count in read["removed"].items() if "duplicate" in reason)
    if double:
        said = f"{double:,} of {read['documents']:,} documents are duplicates and are dropped"
        made.append(finding("note", said))
    if not config.replay.share:
        made.append(finding("note", "no earlier text is replayed: the model may forget", "replay.share=0.2"))
    if replay["passes"] > MANY_PASSES:
        said = f"the replayed text is repeated {replay['passes']:.1f} times and may be memorised"
        more = "give a longer replay.source" if config.replay.source else "raise sampled.tokens"
        made.append(finding("warning", said, more))
    if w["bytes_per_token"] < SHORT_TOKENS:
        said = f"the tokenizer does not fit this text: {w['bytes_per_token']:.2f} bytes per token"
        made.append(finding("note", said, "extend_vocabulary=2000 adds tokens learned on it"))
    if w["steps"] * config.training.batch_rows < w["windows"]:
        said = f"{w['steps']} steps cover {w['passes']:.0%} of the windows"
        made.append(finding("note", said, "training.epochs=1 covers all"))
    for name, (count, total) in found["overlap"].items():
        if count:
            affected = "forgetting" if name == "general_in_training" else "learning"
            made.append(finding("warning", f"{count} of {total} {_PLACES[name]}: figures of {affected} are too good"))
    return made
