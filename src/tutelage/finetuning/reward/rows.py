"""The pairs of a reward model and their encoding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tutelage.finetuning.data import Audit, Row, Split, read_preferences, stratified_split
from tutelage.finetuning.examples import Encoded, Supervision, asked_of, encoded
from tutelage.finetuning.reading import Reading
from tutelage.finetuning.reward.config import RewardConfig
from tutelage.inference.rewards import reward_ids
from tutelage.store.events import EventLog
from tutelage.store.hashing import by_hash
from tutelage.tokenizer.messages import Message
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.data.packing import Example, Segment, branched


def own_rows(config: RewardConfig, log: EventLog, data_seed: int) -> tuple[Split, Audit]:
    """The user's pairs, split so that near-duplicate prompts are on the same side, and the audit of the file.

    Raises InputError if it is unusable.
    """
    assert config.data is not None
    rows, audit = read_preferences(Path(config.data).expanduser(), log, config.columns, "reward")
    return stratified_split(rows, data_seed, config.heldout, near=True), audit


def limited(config: RewardConfig, rows: list[Row], log: EventLog, data_seed: int) -> list[Row]:
    """At most `max_pairs` training pairs, in hash order."""
    if not config.max_pairs or len(rows) <= config.max_pairs:
        return rows
    log.note(f"{len(rows) - config.max_pairs} training pairs beyond max_pairs are left out")
    return by_hash(rows, data_seed)[: config.max_pairs]


def reward_examples(
    tok: Tokenizer, rows: Sequence[Row], context: int, branches: bool = True
) -> tuple[list[Example], Supervision]:
    """One example per pair: the chosen conversation, then the rejected one, each scored at its last token.

    A pair is dropped if either side exceeds the context.
    """
    return encode_scored(tok, rows, branches).fitting(context)


def encode_scored(tok: Tokenizer, rows: Sequence[Row], branches: bool = True) -> Encoded:
    """The chosen and the rejected conversation of each row, of any length: two branches of one document, or, without
    `branches` (for a model that does not support them), two documents."""

    def encode(row: Row) -> tuple[list[Segment], Reading]:
        pair = [_scored(tok, row, row[key], side) for key, side in (("chosen", 1.0), ("rejected", -1.0))]
        # Unlike in language modelling, the last token is also an input.
        needs = max(len(segment.tokens) for segment in pair) + 1
        pair = [branched(pair)] if branches else pair
        read = sum(len(segment.tokens) for segment in pair)
        return pair, Reading(needs, {"conversation": (read, 2)}, 2, 2, 2)

    return encoded(rows, encode, numbered=True)


def _scored(tok: Tokenizer, row: Row, answer: str, side: float) -> Segment:
    ids = reward_ids(tok, [*asked_of(row), Message("assistant", answer)])
    last = [*[0.0] * (len(ids) - 1), 1.0]
    margin = [float(row.get("margin", 0.0)) * value for value in last]
    extras: dict[str, Sequence[float]] = {"side": [side * value for value in last], "margin": margin}
    return Segment(ids, [0] * len(ids), last, extras)
