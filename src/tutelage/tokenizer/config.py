"""What kind of tokenizer to train."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from tutelage.store.config import Config

Method = Literal["bpe", "unigram", "wordpiece", "byte", "char"]
Split = Literal["gpt2", "cl100k", "qwen2", "o200k"]

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""Ids 0, 1 and 2 of every tokenizer trained here: end of document, start and end of a message."""

OCCURRENCES = 100
"""How often a token should stand in the training text, in the mean."""
SMALLEST_CHOSEN, LARGEST_CHOSEN = 512, 8192

_BYTES = len(SPECIAL_TOKENS) + 256
_SMALLEST = {"bpe": _BYTES + 1, "unigram": _BYTES + 1, "wordpiece": 64, "byte": _BYTES, "char": _BYTES + 1}


def bytes_per_token(vocab_size: int) -> float:
    """Of English text, by byte pairs: 2.5 at 768 tokens and 4.5 from 50,000 on (measured)."""
    return min(4.5, max(1.0, 2.5 + 0.48 * math.log(max(1, vocab_size) / 768)))


class TokenizerConfig(Config):
    """Method, size and training sample of a tokenizer. The defaults are the quickstart's.

    `method`: `bpe` and `unigram` work on bytes and are lossless, as are `byte` (nothing to train) and `char`
    (whole characters, rare ones as bytes). `wordpiece` is lossy: white space and rare characters are lost.
    `vocab_size` is the most ids there may be, control tokens included; 0: as many as the text can teach, a power
    of two from 512 to 8,192 of which each token is met 100 times in the mean. `bpe`, `unigram` and `wordpiece`
    reach it unless the text is too small; `byte` always has 259.
    `split` is the pattern that cuts text into words for `bpe` and `unigram` (null: qwen2); transformers and
    llama.cpp know all of those offered. They differ most in digits: gpt2 takes a number whole, cl100k and
    o200k three digits at a time, qwen2 one.
    `sample_megabytes` bounds the text that is trained on; a larger corpus is sampled by document.
    """

    method: Method = "bpe"
    vocab_size: int = Field(0, ge=0, le=1_000_000)
    split: Split | None = None
    sample_megabytes: float = Field(20.0, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if 0 < self.vocab_size < _SMALLEST[self.method]:
            raise ValueError(
                f"vocab_size must be at least {_SMALLEST[self.method]} with method {self.method}, got {self.vocab_size}"
            )
        if self.split is not None and not self.splits:
            raise ValueError(f"split is for bpe and unigram; leave it out with method {self.method}")
        return self

    def sized(self, text_bytes: float = math.inf) -> TokenizerConfig:
        """With the vocabulary that a training text of so many bytes can teach, where `vocab_size` is 0.

        Gowda & May (2020) ask for 100 occurrences of nearly every token; for the upper bound see docs/pretraining.md.
        """
        if self.vocab_size:
            return self
        size = _BYTES if self.method == "byte" else LARGEST_CHOSEN
        while size > SMALLEST_CHOSEN and text_bytes / bytes_per_token(size) < OCCURRENCES * size:
            size //= 2
        return self.with_(vocab_size=size)

    @property
    def splits(self) -> bool:
        """Whether the method cuts text into words by `split`."""
        return self.method in ("bpe", "unigram")

    @property
    def chosen_split(self) -> Split | None:
        """The split in force; None where the method has none."""
        return (self.split or "qwen2") if self.splits else None
