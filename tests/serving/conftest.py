"""A model that takes its time, to be interrupted, overloaded and broken."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from served import classifier_of

from tutelage.inference.language_model import GREEDY, LanguageModel, Piece
from tutelage.inference.sampling import Sampling


class Slow(LanguageModel):
    """Makes tokens without end, slowly, and counts them; can be told to fail instead."""

    made = 0
    fail = False

    def stream(self, prompts: Any, sampling: Sampling = GREEDY) -> Iterator[Piece]:
        if self.fail:
            raise RuntimeError(f"secret detail in {__file__}")
        for _ in range(1000):
            type(self).made += 1
            yield Piece(0, "x", self.tokenizer.encode("x")[0], -1.0, None, True)
            time.sleep(0.02)


@pytest.fixture
def slow(lm: LanguageModel) -> Slow:
    Slow.made = 0
    return Slow(lm.model, lm.tokenizer)


@pytest.fixture
def classifier(lm: LanguageModel) -> LanguageModel:
    return classifier_of(lm)
