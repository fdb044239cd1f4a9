"""A model that takes its time, to be interrupted, overloaded and broken."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from typing import Any

import pytest
from browser import Browser
from served import classifier_of
from torch import Tensor

from tutelage.inference.language_model import LanguageModel
from tutelage.model.decoder import DecoderLM


class SlowDecoder(DecoderLM):
    """Takes 20 ms for every token and says "x"; can be told to fail instead."""

    made = 0
    fail = False
    letter = 0

    def hidden(self, *args: Any, **more: Any) -> Tensor:
        if self.fail:
            raise RuntimeError(f"secret detail in {__file__}")
        time.sleep(0.02)
        self.made += 1
        return super().hidden(*args, **more)

    def logits(self, hidden: Tensor) -> Tensor:
        made = super().logits(hidden)
        made[..., self.letter] += 1000
        return made


class Slow(LanguageModel):
    """Makes tokens without end, slowly, and counts them."""

    model: SlowDecoder

    @property
    def made(self) -> int:
        return self.model.made

    @property
    def fail(self) -> bool:
        return self.model.fail

    @fail.setter
    def fail(self, value: bool) -> None:
        self.model.fail = value


@pytest.fixture
def slow(lm: LanguageModel) -> Slow:
    model = copy.copy(lm.model)
    model.__class__ = SlowDecoder
    model.config = lm.config.with_(max_position_embeddings=2048)
    model.letter = lm.tokenizer.encode("x")[0]
    return Slow(model, lm.tokenizer)


@pytest.fixture
def classifier(lm: LanguageModel) -> LanguageModel:
    return classifier_of(lm)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    made = Browser()
    try:
        yield made
    finally:
        made.close()
