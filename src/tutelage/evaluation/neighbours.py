"""Answers without a language model: copy that of the most similar training row."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PIECES = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z]+|[a-z]+|\d+|[^\W\d_]")


def pieces(text: str) -> list[str]:
    """`HTTPServer.get_response` -> http, server, get, response; a run of unspaced script gives its letters."""
    return [piece.lower() for piece in _PIECES.findall(text)]


class NearestNeighbour:
    """TF-IDF over the pieces of what describes a row; answers with the nearest training response."""

    def __init__(self, train: Sequence[dict[str, Any]], described: Callable[[dict[str, Any]], str]) -> None:
        """`train`: rows with a "response"; the first of equally near ones wins."""
        self.described = described
        self.responses = [str(item["response"]) for item in train]
        bags = [Counter(pieces(described(item))) for item in train]
        frequency = Counter(term for bag in bags for term in bag)
        self._idf = {term: float(np.log((1 + len(bags)) / (1 + n)) + 1) for term, n in frequency.items()}
        postings: dict[str, list[tuple[int, float]]] = {}
        for row, bag in enumerate(bags):
            for term, value in self._weights(bag).items():
                postings.setdefault(term, []).append((row, value))
        self._postings = {
            term: (np.array([row for row, _ in entries]), np.array([value for _, value in entries]))
            for term, entries in postings.items()
        }

    def answer(self, row: dict[str, Any]) -> str:
        return self.responses[int(self.similarity(row).argmax())]

    def similarity(self, row: dict[str, Any]) -> NDArray[np.float64]:
        """Cosine with every training item [items]."""
        scores = np.zeros(len(self.responses))
        for term, value in self._weights(Counter(pieces(self.described(row)))).items():
            rows, weights = self._postings[term]
            scores[rows] += value * weights
        return scores

    def _weights(self, bag: Counter[str]) -> dict[str, float]:
        raw = {term: (1 + np.log(n)) * self._idf[term] for term, n in sorted(bag.items()) if term in self._idf}
        norm = float(np.sqrt(sum(value * value for value in raw.values())))
        return {term: value / norm for term, value in raw.items()}
