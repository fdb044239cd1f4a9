"""What kind of tokenizer to train."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from tutelage.store.config import Config

Method = Literal["bpe", "unigram", "wordpiece", "word", "byte", "char", "bpe_fallback", "superbpe"]
Split = Literal["gpt2", "cl100k", "qwen2", "o200k", "digits2"]

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""Ids 0, 1 and 2 of every tokenizer trained here: end of document, start and end of a message."""

_BYTES = len(SPECIAL_TOKENS) + 256
_SMALLEST = {"wordpiece": 64, "word": 8, "byte": _BYTES}


class TokenizerConfig(Config):
    """Method, size and training sample of a tokenizer. The defaults are the quickstart's.

    `method`: `bpe` and `unigram` work on bytes and are lossless, as are `byte` (nothing to train), `char` (whole
    characters, rare ones as bytes) and `bpe_fallback` (merges of characters, rare ones as bytes, as in SentencePiece).
    `wordpiece` and `word` (whole words) are lossy: white space and what is rare are lost. `superbpe` is experimental:
    `bpe`, whose last merges cross words.
    `vocab_size` is the most ids there may be, control tokens included. All but `char`, `word` and `byte` reach it
    unless the text is too small; `byte` always has 259.
    `split` is the pattern that cuts text into words for `bpe`, `unigram`, `bpe_fallback` and `superbpe` (null: qwen2);
    transformers and llama.cpp know all of those offered but digits2. They differ most in digits: gpt2 takes a number
    whole, cl100k and o200k three digits at a time, digits2 (cl100k but for that) two, qwen2 one. `pattern` is a regular
    expression of one's own in its place.
    `source` is a vocabulary that is there, taken over instead of training one: a SentencePiece model (.model), a
    tiktoken file (.tiktoken; `split` or `pattern` say how it cuts words), a tokenizer.json or a folder with one.
    `sample_megabytes` bounds the text that is trained on; a larger corpus is sampled by document.
    """

    method: Method = "bpe"
    vocab_size: int = Field(2048, ge=1, le=1_000_000)
    split: Split | None = None
    pattern: str = ""
    source: str | None = None
    sample_megabytes: float = Field(20.0, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        smallest = _SMALLEST.get(self.method, _BYTES + 1)
        if self.vocab_size < smallest:
            raise ValueError(f"vocab_size must be at least {smallest} with method {self.method}, got {self.vocab_size}")
        if (self.split is not None or self.pattern) and not self.splits and not self.source:
            raise ValueError(
                "split and pattern are for bpe, unigram, bpe_fallback and superbpe; leave them out with method "
                f"{self.method}"
            )
        if self.split is not None and self.pattern:
            raise ValueError("split and pattern are given; a pattern of one's own stands in the place of a split")
        if self.pattern:
            _refuse_bad_pattern(self.pattern)
        return self

    @property
    def splits(self) -> bool:
        """Whether the method cuts text into words by `split` or `pattern`."""
        return self.method in ("bpe", "unigram", "bpe_fallback", "superbpe")

    @property
    def chosen_split(self) -> str | None:
        """The split in force; `own` for a pattern of one's own; None where the method has none."""
        if not self.splits:
            return None
        return "own" if self.pattern else self.split or "qwen2"


def _refuse_bad_pattern(pattern: str) -> None:
    from tokenizers import Regex  # late: a config is light to import

    try:
        Regex(pattern)
    except Exception as error:
        raise ValueError(f"pattern is no regular expression: {error}") from None
