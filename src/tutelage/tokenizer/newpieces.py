"""New pieces encoded, each by itself: words by numpy where that is known to give the library's ids, others by the
library."""

from __future__ import annotations

import json
from contextlib import suppress

import numpy as np
import tokenizers

from tutelage.tokenizer.cuts import Cuts
from tutelage.tokenizer.encoded import Encoded
from tutelage.tokenizer.isolated import Isolated
from tutelage.tokenizer.known import Strings
from tutelage.tokenizer.matched import LongestWords, UnigramWords

_ENOUGH = 500  # words: fewer are encoded by the library as fast
_AT_ONCE = 20_000  # words: what numpy makes of them should not take much memory


class NewPieces:
    """Encodes pieces that were cut by `cuts` with the ids of `library`. Raises ValueError as `Isolated` does."""

    def __init__(self, library: tokenizers.Tokenizer, cuts: Cuts) -> None:
        self._cuts, self._isolated = cuts, Isolated(library)
        kind = type(library.model).__name__
        self._words: UnigramWords | LongestWords | None = None
        with suppress(ValueError):  # a model that numpy does not follow
            if cuts.tells_words and kind == ("Unigram" if cuts.in_bytes else "WordPiece"):
                # The library's own text of its scores: it reads numbers less exactly than they are written.
                model = json.loads(library.to_str())["model"]
                self._words = UnigramWords(model) if kind == "Unigram" else LongestWords(model)

    def encode_strings(self, pieces: Strings) -> Encoded:
        """Raises ValueError where the model lacks a token for a piece."""
        if self._words is None or len(pieces) < _ENOUGH:
            return self._isolated.encode_strings(pieces)
        single = self._cuts.single(pieces) & (pieces.sizes <= self._words.longest)
        words = np.flatnonzero(single)
        others = np.flatnonzero(~single)
        parts = [words[start : start + _AT_ONCE] for start in range(0, len(words), _AT_ONCE)]
        found = [self._words.encode(self._cuts.normalised(pieces.some(part))) for part in parts]
        if len(others):
            parts.append(others)
            found.append(self._isolated.encode_strings(pieces.some(others)))
        return Encoded.joined(found).ordered(np.concatenate(parts))
