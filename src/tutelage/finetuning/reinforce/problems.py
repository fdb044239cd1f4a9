"""Problems as token ids, limited to those that leave room for an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tutelage.finetuning.data import Row
from tutelage.finetuning.examples import asked_of
from tutelage.finetuning.reinforce.config import ReinforceConfig
from tutelage.inference.sampling import Sampling
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.tokenizer.chat import render_chat
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.data.packing import PackedRows


@dataclass(frozen=True)
class Problems:
    """`rows` with their prompts as `ids`; `sampling`: settings of generation; `too_long`: number of dropped rows."""

    tok: Tokenizer
    rows: list[Row]
    ids: list[list[int]]
    sampling: Sampling
    too_long: int = 0

    def as_rows(self) -> PackedRows:
        """One row per prompt, without targets: the rows over which the data order is drawn."""
        shape = (len(self.ids), max(map(len, self.ids)) + self.sampling.max_tokens)
        rows = PackedRows(
            np.full(shape, self.tok.pad_id, np.int32), np.zeros(shape, np.int32), np.zeros(shape, np.int32),
            np.zeros(shape, np.int32), np.zeros(shape, np.float32),
        )  # fmt: skip
        for at, ids in enumerate(self.ids):
            rows.tokens[at, : len(ids)], rows.documents[at, : len(ids)] = ids, 1
            rows.positions[at, : len(ids)] = np.arange(len(ids))
        return rows


def problems_of(
    tok: Tokenizer, rows: Sequence[Row], config: ReinforceConfig, context: int, what: str, log: EventLog
) -> Problems:
    """The rows that leave room for `max_tokens` in the context; a warning counts the others.

    Raises InputError if there is none.
    """
    ids = [prompt_ids(tok, row, config.chat) for row in rows]
    kept = [at for at, one in enumerate(ids) if len(one) + config.max_tokens <= context]
    if not kept:
        raise InputError(
            f"none of the {len(rows)} prompts leaves room for an answer of {config.max_tokens} tokens in {context}",
            hint="raise context_length, or lower max_tokens",
        )
    if len(kept) < len(rows):
        log.warn(f"{what}: {len(rows) - len(kept)} of {len(rows)} prompts leave no room for {config.max_tokens} tokens "
                 f"in {context} and are dropped")  # fmt: skip
    stop = () if config.chat else ("\n",)
    sampling = Sampling(max_tokens=config.max_tokens, temperature=config.temperature, stop=stop)
    return Problems(tok, [rows[at] for at in kept], [ids[at] for at in kept], sampling, len(rows) - len(kept))


def prompt_ids(tok: Tokenizer, row: Row, chat: bool) -> list[int]:
    """Token ids of the prompt: a conversation up to the assistant's turn, or the beginning of a text."""
    if chat:
        return render_chat(tok, asked_of(row), add_generation_prompt=True).ids
    text = "\n".join(turn.content for turn in asked_of(row))
    return [tok.start_id, *tok.encode(text + "\n")]
