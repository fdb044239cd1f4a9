"""A model that says what it is told to, for the chat page, and what a user does there."""

from __future__ import annotations

import copy
import time
from typing import Any

from browser import Browser
from torch import Tensor

from tutelage.inference.language_model import LanguageModel
from tutelage.model.decoder import DecoderLM


class ScriptedDecoder(DecoderLM):
    """Says what it is told to, whatever it reads; can wait before each token and fail in the middle."""

    ids: list[int]
    pause = 0.0
    before = 0.0
    breaks_after: int | None = None
    at = 0

    def hidden(self, tokens: Tensor, positions: Tensor | None = None, *args: Any, **more: Any) -> Tensor:
        begins = positions is not None and positions[0, 0] == 0
        self.at = 0 if begins else self.at + 1
        time.sleep(self.before if begins else self.pause)
        if self.at == self.breaks_after:
            raise RuntimeError("secret")
        return super().hidden(tokens, positions, *args, **more)

    def logits(self, hidden: Tensor) -> Tensor:
        made = super().logits(hidden)
        made[..., self.ids[min(self.at, len(self.ids) - 1)]] += 1000
        return made


class Scripted(LanguageModel):
    """A model with a script, a character a token."""

    model: ScriptedDecoder
    told: list[str]

    @property
    def said(self) -> str:
        return self.tokenizer.decode(self.model.ids)

    @said.setter
    def said(self, text: str) -> None:
        self.model.ids = [*self.tokenizer.encode(text), self.stop_ids[0]]

    def chat_ids(self, messages: Any, tools: Any = None, options: Any = None) -> list[int]:
        self.told = [one.content for one in messages]
        return super().chat_ids(messages, tools, options)


def scripted(lm: LanguageModel) -> Scripted:
    model = copy.copy(lm.model)
    model.__class__ = ScriptedDecoder
    model.config = lm.config.with_(max_position_embeddings=2048)
    made = Scripted(model, lm.tokenizer)  # type: ignore[arg-type]
    made.said = "hello"
    return made


def ask(page: Browser, text: str, wait: bool = True) -> None:
    before = page.js(
        "document.querySelectorAll('.note').forEach((one) => one.remove()); prompt.focus(); chat.nodes.length"
    )
    page.type(text)
    page.press("Enter")
    page.wait(f"chat.nodes.length > {before} || document.querySelector('.note')")
    if wait:
        page.wait("running.size === 0")


def shown(page: Browser) -> list[str]:
    return page.js("[...document.querySelectorAll('article .text')].map((one) => one.innerText)")


def press(page: Browser, text: str) -> None:
    page.js(f"[...document.querySelectorAll('button')].filter((one) => one.textContent === {text!r}).at(-1).click()")
