"""Nearest-neighbour baseline: copy the answer of the training row with the most similar description."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tutelage.store.errors import InputError

_PIECES = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+")


def pieces(text: str) -> list[str]:
    """Words and parts of identifiers: `HTTPServer.get_response(url)` -> http, server, get, response, url.

    Words in other scripts also give character bigrams, for scripts without spaces.
    """
    found: list[str] = []
    for piece in _PIECES.findall(text):
        found.append(piece.lower())
        if not piece.isascii():
            found += [piece[i : i + 2].lower() for i in range(len(piece) - 1)]
    return found


class NearestNeighbour:
    """TF-IDF over the pieces of descriptions; answers with the response of the nearest training row."""

    def __init__(self, described: Sequence[str], responses: Sequence[str]) -> None:
        """One description and one response per training row; ties go to the first row."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        if not responses or len(described) != len(responses):
            raise InputError(
                f"{len(described)} descriptions and {len(responses)} responses", hint="give one of each per row"
            )
        self.responses = list(responses)
        self._vectorizer = TfidfVectorizer(analyzer=pieces, sublinear_tf=True)
        try:
            self._rows = self._vectorizer.fit_transform(described)
        except ValueError:  # no description contains a word: all rows are equally near
            self._rows = None

    def answers(self, described: Sequence[str]) -> list[str]:
        return [self.answer(text) for text in described]

    def answer(self, described: str) -> str:
        return self.responses[int(self.similarity(described).argmax())]

    def similarity(self, described: str) -> NDArray[np.float64]:
        """Cosine similarity to every training row [rows]."""
        if self._rows is None:
            return np.zeros(len(self.responses))
        return np.asarray((self._rows @ self._vectorizer.transform([described]).T).toarray()[:, 0])
