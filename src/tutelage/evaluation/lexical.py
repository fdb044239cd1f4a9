"""TF-IDF with logistic regression as a saved classifier: about a megabyte of plain data, no pickle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.model.ordinal import chosen_label
from tutelage.store.errors import DamagedError
from tutelage.store.files import write_atomic

FOLDER = "tfidf"  # folder of the classifier in an evaluation artifact
SETTINGS, WEIGHTS = "lexical.json", "lexical.safetensors"
WORDS: dict[str, Any] = {"ngram_range": (1, 2)}
CHARACTERS: dict[str, Any] = {"analyzer": "char_wb", "ngram_range": (2, 4)}


@dataclass(frozen=True)
class Beginning:
    """Preprocessor: the first characters of a text, lower-cased."""

    length: int

    def __call__(self, text: str) -> str:
        return text[: self.length].lower()


def vectorizer(kind: str, beginning: int, **more: Any) -> Any:
    """A count vectorizer of words (1- and 2-grams) or characters (2- to 4-grams within words) of a text's beginning."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    shared = {"sublinear_tf": True, "dtype": np.float32, **more}
    if kind == "words":
        return TfidfVectorizer(**WORDS, **shared)
    return TfidfVectorizer(**CHARACTERS, preprocessor=Beginning(beginning), **shared)


@dataclass(frozen=True)
class LexicalClassifier:
    """`terms`: the vocabulary of `words` and of `characters`, in column order; `idf`: weight of each term.

    weights: [classes, terms], one row for two classes. bias: one per row. multi_label: each class is decided by its own
    row; else exactly one class. order: the labels in order, if they are ordinal.
    """

    classes: tuple[str, ...]
    terms: dict[str, list[str]]
    idf: dict[str, NDArray[np.float32]]
    beginning: int
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    multi_label: bool = False
    order: tuple[str, ...] = ()

    def classify(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """Probability of each label, for each text."""
        found = self.probabilities(texts)
        return [dict(zip(self.classes, map(float, row), strict=True)) for row in found]

    def named(self, probabilities: NDArray[np.float64]) -> str:
        """The predicted class, from the probabilities [classes] of one text."""
        if not self.order:
            return self.classes[int(probabilities.argmax())]
        return chosen_label(dict(zip(self.classes, map(float, probabilities), strict=True)), self.order)

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Probabilities [texts, classes]."""
        if len(self.classes) == 1 and not self.multi_label:
            return np.ones((len(texts), 1))
        from scipy.sparse import hstack

        scores = np.asarray(hstack(self._features(texts), format="csr") @ self.weights.T + self.bias, np.float64)
        if self.multi_label:
            return np.asarray(1 / (1 + np.exp(-scores)))
        if len(self.classes) == 2:
            scores = np.concatenate([-scores / 2, scores / 2], axis=1)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def _features(self, texts: Sequence[str]) -> list[Any]:
        parts = []
        for kind, terms in self.terms.items():
            counts = vectorizer(kind, self.beginning, vocabulary={term: column for column, term in enumerate(terms)})
            counts.idf_ = self.idf[kind]
            parts.append(counts.transform(texts))
        return parts

    @property
    def megabytes(self) -> float:
        """Approximate size of what `save` writes."""
        terms = sum(len(term.encode("utf-8")) + 3 for each in self.terms.values() for term in each)
        return (
            float(terms + sum(idf.nbytes for idf in self.idf.values()) + self.weights.nbytes + self.bias.nbytes) / 1e6
        )

    def save(self, directory: Path) -> None:
        from safetensors.numpy import save

        directory.mkdir(parents=True, exist_ok=True)
        tensors = {"weights": self.weights, "bias": self.bias, **{f"idf.{kind}": idf for kind, idf in self.idf.items()}}
        write_atomic(directory / WEIGHTS, save(tensors))
        settings = {"version": 1, "classes": list(self.classes), "beginning": self.beginning, "terms": self.terms,
                    "multi_label": self.multi_label, "order": list(self.order)}  # fmt: skip
        write_atomic(directory / SETTINGS, json.dumps(settings, ensure_ascii=False, separators=(",", ":")))

    @classmethod
    def load(cls, directory: Path) -> LexicalClassifier:
        """Raises DamagedError if the files are incomplete or inconsistent."""
        from safetensors.numpy import load_file

        try:
            settings = json.loads((directory / SETTINGS).read_text(encoding="utf-8"))
            tensors = load_file(directory / WEIGHTS)
            terms = {str(kind): [str(term) for term in each] for kind, each in settings["terms"].items()}
            found = cls(
                tuple(map(str, settings["classes"])), terms, {kind: tensors[f"idf.{kind}"] for kind in terms},
                int(settings["beginning"]), tensors["weights"], tensors["bias"], bool(settings.get("multi_label")),
                tuple(map(str, settings.get("order", ()))),
            )  # fmt: skip
            if found.weights.shape[1] != sum(map(len, terms.values())):
                raise ValueError("the numbers of terms and weights differ")
        except Exception as error:
            raise DamagedError(f"the TF-IDF classifier in {directory} is damaged: {error}") from None
        return found
