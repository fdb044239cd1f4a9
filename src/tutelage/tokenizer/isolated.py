"""Encoding of many short pieces of text, each by itself.

An object for each piece takes `tokenizers` longer than the piece. So pieces are given to it as one text, with a mark
between them that it finds as an added token: what is between two marks is normalised, cut and encoded alone. Byte pairs
go to `fastokens` from where on building it pays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version

import numpy as np
import tokenizers

from tutelage.tokenizer.encoded import Encoded, portions

_MARK = "\U0010ffff"  # no character, and never will be one
_AT_ONCE = 500_000  # characters of a joined text
_TRIED = 500  # of the pieces, before fastokens is trusted
_WORTH, _WORTH_CHARACTERS = 0.5, 8
"""Pieces and characters for each token of the vocabulary from which on fastokens is built: that takes 5 microseconds
for a token, and `tokenizers` as long for a short piece, of which more will come."""


class Isolated:
    """Encodes pieces with the ids of `library`. Raises ValueError where the model lacks a token for one.

    `fast` builds a faster encoder, raising ValueError or ImportError where there is none; `trials` gives texts that it
    is tried on before.
    """

    def __init__(
        self,
        library: tokenizers.Tokenizer,
        fast: Callable[[], Callable[[Sequence[str]], Encoded]] | None,
        trials: Callable[[], Iterable[str]],
    ) -> None:
        self._library, self._trials = library, trials
        self._build: Callable[[], Callable[[Sequence[str]], Encoded]] | None = fast
        self._fast: Callable[[Sequence[str]], Encoded] | None = None
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
        self._encoded = 0.0

    @property
    def encoder(self) -> str:
        name = "tokenizers" if self._fast is None else "fastokens"
        return f"{name} {version(name)}"

    def encode(self, pieces: Sequence[str]) -> Encoded:
        if self._build is not None:
            self._encoded += max(len(pieces) / _WORTH, sum(map(len, pieces)) / _WORTH_CHARACTERS)
            if self._encoded > self._library.get_vocab_size():
                self._choose(pieces)
        if self._fast is not None:
            try:
                return self._fast(pieces)
            except ValueError:  # an expression that backtracks too far, say
                self._fast = None
        return self._by_library(pieces)

    def _choose(self, pieces: Sequence[str]) -> None:
        build, self._build = self._build, None
        assert build is not None
        try:
            fast = build()
            tried = [*self._trials(), *next(portions(pieces[:_TRIED], 40 * _TRIED), [])]
            found = fast(tried)
        except (ValueError, ImportError):
            return
        wanted = self._by_library(tried)
        if np.array_equal(found.ids, wanted.ids) and np.array_equal(found.ends, wanted.ends):
            self._fast = fast

    def _by_library(self, pieces: Sequence[str]) -> Encoded:
        if sum(map(len, pieces)) < _AT_ONCE:
            return self._portion(pieces)
        return Encoded.joined([self._portion(some) for some in portions(pieces, _AT_ONCE)])

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
