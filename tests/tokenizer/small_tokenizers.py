"""Small tokenizers of every method, trained on a fixed text."""

from __future__ import annotations

import random

from tutelage.store.events import EventLog
from tutelage.tokenizer.config import TokenizerConfig
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.tokenizer.train import train

WORDS = [
    "return",
    "the",
    "list",
    "of",
    "all",
    "files",
    "in",
    "a",
    "directory",
    "given",
    "path",
    "name",
    "value",
    "and",
    "text",
    "string",
    "number",
    "is",
    "not",
    "none",
    "function",
    "class",
    "module",
    "object",
    "error",
    "raises",
    "naïve",
    "café",
    "größe",
    "学習",
    "данные",
    "42",
    "1999",
]


def corpus_texts(count: int = 300) -> list[str]:
    """Made-up sentences; the same on every machine."""
    choose = random.Random(7)
    return [
        " ".join(choose.choice(WORDS) for _ in range(choose.randint(4, 20))).capitalize() + ".\n" for _ in range(count)
    ]


SIZES = {
    "bpe": 400,
    "unigram": 384,
    "wordpiece": 200,
    "byte": 259,
    "char": 300,
    "word": 40,
    "bpe_fallback": 400,
    "superbpe": 400,
}
LOSSY = ("wordpiece", "word")


def small(method: str, **more: object) -> Tokenizer:
    config = TokenizerConfig.parse({"method": method, "vocab_size": SIZES[method], **more})
    return train(config, corpus_texts(), EventLog())
