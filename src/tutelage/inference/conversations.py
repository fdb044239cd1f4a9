"""Encode conversations and translation requests with the tokenizer's chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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


def asking_ids(
    tokenizer: Tokenizer, messages: Messages, tools: Tools | None = None, options: Mapping[str, Any] | None = None
) -> list[int]:
    """Ids of a conversation up to the start of the assistant's turn. `options`: more variables for the template."""
    turns = messages_from_plain(list(messages))
    return render_chat(tokenizer, turns, add_generation_prompt=True, tools=tools, options=options).ids


def translation_ids(tokenizer: Tokenizer, texts: Sequence[str], target: str | None = None) -> list[list[int]]:
    """Prompt ids for translating each text into `target` (None: the language of training).

    Raises ConfigError for a model not trained for translation, or not for this language.
    """
    how = translation_of(tokenizer)
    if how is None:
        raise ConfigError(
            "this model was not trained for translation", hint="train one with `tutelage finetune translate PAIRS`"
        )
    backwards = how.backwards(target)
    return [asking_ids(tokenizer, [Message("user", how.ask(text, backwards))]) for text in texts]


def learned_window(
    tokenizer: Tokenizer, messages: Messages, weights: Sequence[float] | None = None, tools: Tools | None = None
) -> tuple[Window, Tensor]:
    """The assistant's turns for scoring, stop tokens included: (ids up to the last token, weight of each scored id,
    float64). `weights`: per message, 1 by default."""
    rendered = render_chat(tokenizer, messages_from_plain(list(messages)), tools=tools)
    weight_at = learned_weights(rendered, weights)
    learned = [at for at, weight in enumerate(weight_at) if weight > 0]
    first, end = (learned[0], learned[-1] + 1) if learned else (0, 0)
    return Window(rendered.ids[:end], end - first), torch.tensor(weight_at[first:end], dtype=torch.float64)
