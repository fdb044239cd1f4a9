"""Preflight check of a reward model's training data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from tutelage.finetuning.data import Audit, Row
from tutelage.finetuning.examples import Encoded, asked_of
from tutelage.finetuning.preflight.account import asked_text, begun, concluded, shown_place
from tutelage.finetuning.preflight.figures import duplicate_figures, length_bias, length_figures, repeated_figures
from tutelage.finetuning.preflight.findings import Finding, Found, finding
from tutelage.finetuning.preflight.pairs import pair_figures
from tutelage.finetuning.preflight.sample import runs
from tutelage.finetuning.reward.config import RewardConfig
from tutelage.finetuning.reward.rows import encode_scored, limited, own_rows
from tutelage.inference.rewards import reward_ids
from tutelage.model.config import ModelConfig
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.tokenizer.messages import Message
from tutelage.tokenizer.tokenizer import Tokenizer


def preflight(
    config: RewardConfig, tok: Tokenizer, model: ModelConfig, log: EventLog, data_seed: int
) -> dict[str, Any]:
    """Topics, lengths, margins and duplicates of the user's pairs. Raises InputError if they are unusable."""
    split, audit = own_rows(config, log, data_seed)
    train = limited(config, split.train, log, data_seed)
    context = min(config.context_length, model.max_position_embeddings)
    return scored_account(
        tok, train, split.heldout, encode_scored(tok, train, model.can_branch), context, audit, config.columns
    )


def scored_account(
    tok: Tokenizer, train: Sequence[Row], heldout: Sequence[Row], encoded: Encoded, context: int,
    audit: Audit | None, columns: Mapping[str, str],
) -> Found:  # fmt: skip
    """Audit of `encoded` training pairs, whose answers are scored at their last tokens, and of the held-out ones."""
    found = begun("pairs", train, heldout, audit, columns)
    found |= {"length": length_figures(encoded, context), "refused": encoded.refused}
    kept = len(encoded.readings) - found["length"]["dropped"]
    if not kept:
        raise InputError(
            f"nothing would be trained: none of {len(encoded.readings)} pairs fits into {context} tokens",
            hint=f"context_length={found['length']['longest']} fits the longest",
        )
    asked = [asked_text(row) for row in train]
    found["duplicates"] = duplicate_figures(asked, [asked_text(row) for row in heldout])
    found["repeated"] = repeated_figures(asked)
    lengths = ([len(ids) for ids in tok.encode_batch([row[side] for row in train])] for side in ("chosen", "rejected"))
    found["bias"] = length_bias(*lengths)
    found["pairs"] = pair_figures(train, heldout)
    margins = found["margins"] = margin_figures(train)
    read = sum(encoded.sizes)
    scored = f"{2 * kept} answers of {kept} pairs, each at its last token; {read:,} tokens in total"
    found["lines"] = [("Scored", [scored, *([_margins(margins)] if margins["given"] else [])])]
    found["said"] = f"scores: {scored}"
    row = train[shown_place(encoded, context)]
    found["sample"] = [
        {"title": side, "how": "scored", "runs": runs(tok, ids, [*[0.0] * (len(ids) - 1), 1.0])}
        for side in ("chosen", "rejected")
        for ids in [reward_ids(tok, [*asked_of(row), Message("assistant", row[side])])]
    ]
    return concluded(found, _findings(margins, len(train)))


def margin_figures(rows: Sequence[Row]) -> dict[str, Any]:
    """Statistics of the margins in the file: number of pairs with one, median, `ties` (margin 0: equally good answers)
    and `negative` ones (the rejected answer is better)."""
    given = [float(row["margin"]) for row in rows if "margin" in row]
    return {
        "given": len(given),
        "median": round(median(given), 4) if given else 0.0,
        "ties": sum(margin == 0 for margin in given),
        "negative": sum(margin < 0 for margin in given),
    }


def _margins(margins: Mapping[str, Any]) -> str:
    return f"{margins['given']} pairs have a margin, with median {margins['median']:g}; {margins['ties']} of them are 0"


def _findings(margins: Mapping[str, Any], rows: int) -> list[Finding]:
    made = []
    if count := margins["negative"]:
        said = f"{count} of {rows} training pairs have a negative margin: the rejected answer is better"
        made.append(finding("warning", said, "swap their answers, or remove them"))
    if count := margins["ties"]:
        said = f"{count} of {rows} training pairs have a margin of 0: their answers are equally good"
        made.append(finding("warning", said, "remove them: they train a difference that does not exist"))
    if 0 < margins["given"] < rows:
        said = f"{rows - margins['given']} of {rows} training pairs have no margin, which counts as 0"
        made.append(finding("note", said))
    return made
