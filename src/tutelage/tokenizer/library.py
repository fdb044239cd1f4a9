"""Instances of the `tokenizers` library from a definition, and checks of what they are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tokenizers

from tutelage.store.errors import InputError


def alike(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the common prefix."""
    return next(
        (n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def instance(definition: str) -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer.from_str(definition)
    # Some published files have these, which would silently truncate or pad every text.
    made.no_truncation()
    made.no_padding()
    return made


def last_id(data: dict[str, Any], library: tokenizers.Tokenizer) -> int:
    """The largest id, from the definition, since querying a large vocabulary of the library is slow."""
    vocabulary = data["model"]["vocab"]
    last = len(vocabulary) - 1 if isinstance(vocabulary, list) else max(vocabulary.values(), default=-1)
    added = (library.token_to_id(token["content"]) for token in data["added_tokens"])
    return max([last, *(index for index in added if index is not None)])


def text_of(token: Any) -> str | None:
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def not_text(texts: Sequence[Any]) -> InputError:
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            return InputError(f"text {index} to encode is {type(text).__name__}, not str")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            return InputError(f"text {index} to encode is not valid Unicode: lone surrogate at {error.start}")
    return InputError("text cannot be encoded")
