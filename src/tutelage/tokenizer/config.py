"""What kind of tokenizer to train."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from tutelage.store.config import Config

Method = Literal["bpe", "unigram", "wordpiece", "byte", "char"]
Split = Literal["gpt2", "cl100k", "qwen2", "o200k"]

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""Ids 0, 1 and 2 of every tokenizer trained here: end of document, start and end of a message."""

_BYTES = len(SPECIAL_TOKENS) + 256
_SMALLEST = {"bpe": _BYTES + 1, "unigram": _BYTES + 1, "wordpiece": 64, "byte": _BYTES, "char": _BYTES + 1}


class TokenizerConfig(Config):
    """Method, size and training sample of a tokenizer. The defaults are the quickstart's.

    `method`: `bpe` and `unigram` work on bytes and are lossless, as are `byte` (no training at all) and
    `char` (whole characters, rare ones as bytes); `wordpiece` is lossy: it forgets white space and unknown
    characters.
    `vocab_size` is the number of ids, control tokens included; with `char` the largest allowed. `byte` has
    259.
    `split` is the pattern that cuts text into words before `bpe` or `unigram` look at it; transformers and
    llama.cpp know all of those offered. They differ in digits: gpt2 any run, cl100k and o200k up to three,
    qwen2 (the default) one by one.
    `sample_megabytes` bounds the text that is trained on; a larger corpus is sampled by document.
    """

    method: Method = "bpe"
    vocab_size: int = Field(4096, ge=1, le=1_000_000)
    split: Split | None = None
    sample_megabytes: float = Field(20.0, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = dict(data)
        method = data.get("method", "bpe")
        if method == "byte":
            data.setdefault("vocab_size", _BYTES)
        if method in ("bpe", "unigram") and data.get("split") is None:
            data["split"] = "qwen2"
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.method == "byte" and self.vocab_size != _BYTES:
            raise ValueError(
                f"vocab_size must be {_BYTES} (256 bytes and 3 control tokens) or left out with method byte, "
                f"got {self.vocab_size}"
            )
        if self.vocab_size < _SMALLEST[self.method]:
            raise ValueError(
                f"vocab_size must be at least {_SMALLEST[self.method]} with method {self.method}, "
                f"got {self.vocab_size}"
            )
        if self.split is not None and self.method not in ("bpe", "unigram"):
            raise ValueError(f"split is for bpe and unigram; method {self.method} has its own, leave it out")
        return self
