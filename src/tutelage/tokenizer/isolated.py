"""Encoding of many short pieces of text, each by itself.

An object for each piece takes `tokenizers` longer than the piece. So pieces are given to it as one text, with a mark
between them that it finds as an added token: what is between two marks is normalised, cut and encoded alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tokenizers

from tutelage.tokenizer.encoded import Encoded, portions
from tutelage.tokenizer.known import Strings

_MARK = "\U0010ffff"  # no character, and never will be one
_AT_ONCE = 500_000  # characters of a joined text


class Isolated:
    """Encodes pieces with the ids of `library`. Raises ValueError where the vocabulary has no id left for the mark."""

    def __init__(self, library: tokenizers.Tokenizer) -> None:
        self._library = library
        self._marked = tokenizers.Tokenizer(library.model)  # which both have in common: this costs nothing
        if library.normalizer is not None:
            self._marked.normalizer = library.normalizer
        if library.pre_tokenizer is not None:
            self._marked.pre_tokenizer = library.pre_tokenizer
        self._marked.add_tokens([tokenizers.AddedToken(_MARK, special=False, normalized=False)])
        mark = self._marked.token_to_id(_MARK)
        if mark is None or library.model.id_to_token(mark) is not None:
            raise ValueError("the vocabulary has no id to spare")
        self._mark = mark

    def encode(self, pieces: Sequence[str]) -> Encoded:
        """Raises ValueError where the model lacks a token for a piece."""
        if sum(map(len, pieces)) < _AT_ONCE:
            return self._portion(pieces)
        return Encoded.joined([self._portion(some) for some in portions(pieces, _AT_ONCE)])

    def encode_strings(self, pieces: Strings) -> Encoded:
        return self.encode(pieces.texts())

    def _portion(self, pieces: Sequence[str]) -> Encoded:
        joined = _MARK.join(pieces)
        try:
            if joined.count(_MARK) >= len(pieces):  # pieces have it themselves
                found = self._library.encode_batch_fast(list(pieces), add_special_tokens=False)
                return Encoded.of(one.ids for one in found)
            ids = np.array(self._marked.encode_batch_fast([joined], add_special_tokens=False)[0].ids, np.uint32)
        except Exception as error:  # no token for a character, say
            raise ValueError(f"a word cannot be encoded: {error}") from None
        at = np.flatnonzero(ids == self._mark)
        return Encoded(np.delete(ids, at), np.append(at - np.arange(len(at)), len(ids) - len(at)))
