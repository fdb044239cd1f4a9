"""Small tokenizers of every method, trained once."""

from __future__ import annotations

import pytest
from small_tokenizers import SIZES, small

from tutelage.tokenizer.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def trained() -> dict[str, Tokenizer]:
    return {method: small(method) for method in SIZES}


@pytest.fixture(scope="session")
def bpe(trained: dict[str, Tokenizer]) -> Tokenizer:
    return trained["bpe"]
