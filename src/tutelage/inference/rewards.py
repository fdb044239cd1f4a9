"""Reward model inputs, and ranking of answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tutelage.tokenizer.chat import render_chat
from tutelage.tokenizer.messages import Message
from tutelage.tokenizer.vocabulary import Vocabulary


@dataclass(frozen=True)
class Ranked:
    """An answer and its reward, in log-odds relative to other answers to the same prompt."""

    answer: str
    reward: float


def reward_ids(tok: Vocabulary, messages: Sequence[Message]) -> list[int]:
    """Ids of a finished conversation, up to the last one that is not the padding id.

    The reward is read at that token: transformers' sequence classifiers use the last non-padding token, so both agree
    even if stop token and padding are the same id.
    """
    ids = render_chat(tok, messages).ids
    while len(ids) > 1 and ids[-1] == tok.pad_id:
        ids = ids[:-1]
    return ids
