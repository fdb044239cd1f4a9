"""From conversations and questions to the ids that a model reads, by its tokenizer's own template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tutelage.inference.scoring import Window
from tutelage.store.errors import ConfigError
from tutelage.tokenizer.calls import Tools
from tutelage.tokenizer.chat import learned_weights, render_chat
from tutelage.tokenizer.messages import Message, messages_from_plain
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.tokenizer.translation import translation_of

Messages = Sequence[Message] | Sequence[Mapping[str, str]]


def asking_ids(tokenizer: Tokenizer, messages: Messages, tools: Tools | None = None) -> list[int]:
    """Ids of a conversation up to where the assistant is to speak."""
    turns = messages_from_plain(list(messages))
    return render_chat(tokenizer, turns, add_generation_prompt=True, tools=tools).ids


def translation_ids(tokenizer: Tokenizer, texts: Sequence[str], target: str | None = None) -> list[list[int]]:
    """Ids that ask for the translation of each text into `target` (None: the language that was learned).

    Raises ConfigError for a model that was not taught to translate, or not into this language.
    """
    how = translation_of(tokenizer)
    if how is None:
        raise ConfigError(
            "this model was not taught to translate", hint="`tutelage finetune translate PAIRS` makes one that does"
        )
    backwards = how.backwards(target)
    return [asking_ids(tokenizer, [Message("user", how.ask(text, backwards))]) for text in texts]


def learned_window(
    tokenizer: Tokenizer, messages: Messages, weights: Sequence[float] | None = None, tools: Tools | None = None
) -> tuple[Window, Tensor]:
    """What the assistant says in a conversation, its stop tokens included, to be scored: (ids up to its last token, how
    much each of the scored ones counts, float64). `weights`: of each message, 1 by default."""
    rendered = render_chat(tokenizer, messages_from_plain(list(messages)), tools=tools)
    weight_at = learned_weights(rendered, weights)
    learned = [at for at, weight in enumerate(weight_at) if weight > 0]
    first, end = (learned[0], learned[-1] + 1) if learned else (0, 0)
    return Window(rendered.ids[:end], end - first), torch.tensor(weight_at[first:end], dtype=torch.float64)
