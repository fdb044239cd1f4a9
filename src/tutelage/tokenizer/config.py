"""What kind of tokenizer to train."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from tutelage.store.config import Config

Method = Literal["bpe", "unigram", "wordpiece", "word", "byte", "char", "bpe_fallback", "superbpe"]
Split = Literal["gpt2", "cl100k", "qwen2", "o200k", "digits2"]

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""Ids 0, 1 and 2 of every tokenizer trained here: end of document, start and end of a message."""

OCCURRENCES = 100
"""Mean number of occurrences that a token should have in the training text."""
SMALLEST_CHOSEN, LARGEST_CHOSEN = 512, 8192

_BYTES = len(SPECIAL_TOKENS) + 256
_SMALLEST = {"wordpiece": 64, "word": 8, "byte": _BYTES}


def bytes_per_token(vocab_size: int) -> float:
    """Bytes per token of byte-pair encoding on English text: 2.5 at 768 tokens, 4.5 from 50,000 on (measured)."""
    return min(4.5, max(1.0, 2.5 + 0.48 * math.log(max(1, vocab_size) / 768)))


class TokenizerConfig(Config):
    """Method, size and training sample of a tokenizer. The defaults are the quickstart's.

    `method`: `bpe` and `unigram` work on bytes and are lossless, as are `byte` (nothing to train), `char` (whole
    characters, rare ones as bytes) and `bpe_fallback` (merges of characters, rare ones as bytes, as in SentencePiece).
    `wordpiece` and `word` (whole words) are lossy: they drop white space and rare words. `superbpe` is experimental:
    `bpe` whose last merges cross word boundaries.
    `vocab_size` is the maximum number of ids, control tokens included; 0: chosen by the size of the text, a power of
    two from 512 to 8,192 such that a token occurs 100 times on average. All methods but `char`, `word` and `byte` reach
    it unless the text is too small; `byte` always has 259.
    `split` is the pattern that splits text into words for `bpe`, `unigram`, `bpe_fallback` and `superbpe` (null:
    qwen2); transformers and llama.cpp support all of them but digits2. They differ most in digits: gpt2 keeps a number
    whole, cl100k and o200k split it into groups of three digits, digits2 (otherwise cl100k) two, qwen2 one. `pattern`
    is a custom regular expression instead of a split.
    `source` is an existing vocabulary, used with its size instead of training one: a SentencePiece model (.model), a
    tiktoken file (.tiktoken; `split` or `pattern` specify how it splits words), a tokenizer.json or a folder with one.
    `sample_megabytes` limits the training text; a larger corpus is sampled by document.
    """

    method: Method = "bpe"
    vocab_size: int = Field(0, ge=0, le=1_000_000)
    split: Split | None = None
    pattern: str = ""
    source: str | None = None
    sample_megabytes: float = Field(20.0, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        smallest = _SMALLEST.get(self.method, _BYTES + 1)
        if 0 < self.vocab_size < smallest:
            raise ValueError(f"vocab_size must be at least {smallest} with method {self.method}, got {self.vocab_size}")
        if (self.split is not None or self.pattern) and not self.splits and not self.source:
            raise ValueError(
                "split and pattern are for bpe, unigram, bpe_fallback and superbpe; leave them out with method "
                f"{self.method}"
            )
        if self.split is not None and self.pattern:
            raise ValueError("set either split or pattern, not both: a custom pattern replaces the split")
        if self.pattern:
            _refuse_bad_pattern(self.pattern)
        return self

    def sized(self, text_bytes: float = math.inf) -> TokenizerConfig:
        """The same with the vocabulary size for a training text of `text_bytes`, if `vocab_size` is 0 and the
        vocabulary is not read from `source`.

        Gowda & May (2020) recommend 100 occurrences of nearly every token; for the upper bound see docs/pretraining.md.
        """
        if self.vocab_size or self.source:
            return self
        size = _BYTES if self.method == "byte" else LARGEST_CHOSEN
        while size > SMALLEST_CHOSEN and text_bytes / bytes_per_token(size) < OCCURRENCES * size:
            size //= 2
        return self.with_(vocab_size=size)

    @property
    def splits(self) -> bool:
        """Whether the method splits text into words by `split` or `pattern`."""
        return self.method in ("bpe", "unigram", "bpe_fallback", "superbpe")

    @property
    def chosen_split(self) -> str | None:
        """The split in use; `own` for a custom pattern; None if the method does not split."""
        if not self.splits:
            return None
        return "own" if self.pattern else self.split or "qwen2"


def _refuse_bad_pattern(pattern: str) -> None:
    from tokenizers import Regex  # imported late to keep the config light

    try:
        Regex(pattern)
    except Exception as error:
        raise ValueError(f"pattern is not a valid regular expression: {error}") from None
