"""Held-out text: bits per byte and word order, for models beside compressors, n-grams and chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tutelage.evaluation.baselines import Baselines, Document
from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.figures import Comparison, Figure, figure, row
from tutelage.evaluation.order import Pair
from tutelage.evaluation.paired import Resampling, compare_all, compare_means, pairs_of
from tutelage.evaluation.statistics import bootstrap_ratio, wilson
from tutelage.evaluation.verdicts import percent
from tutelage.store.events import EventLog
from tutelage.store.progress import batches

if TYPE_CHECKING:
    from tutelage.inference.language_model import LanguageModel

BITS, ORDER = "bits per byte", "word order"


@dataclass(frozen=True)
class Likelihoods:
    """A party's natural-log likelihoods: of each document, and of each word-order pair (real, swapped)."""

    documents: list[float]
    pairs: list[tuple[float, float]]

    @property
    def right(self) -> list[float]:
        """1 where the real sentence is likelier, 0 where the swapped one is, a half for a tie."""
        return [1.0 if real > swapped else 0.0 if real < swapped else 0.5 for real, swapped in self.pairs]


def score_texts(
    lm: LanguageModel,
    who: str,
    documents: Sequence[Document],
    pairs: Sequence[Pair],
    config: EvaluateConfig,
    log: EventLog,
) -> Likelihoods:
    """Score every document and both sides of every pair with one model."""
    texts = [document.text for document in documents]
    scores = rolling(lm, f"{who}: held-out text", texts, config.batch, log)
    sides = [side for pair in pairs for side in (pair.real, pair.swapped)]
    flat = rolling(lm, f"{who}: word order", sides, config.batch, log)
    return Likelihoods(scores, list(zip(flat[::2], flat[1::2], strict=True)))


def language_figures(
    models: dict[str, Likelihoods],
    documents: Sequence[Document],
    baselines: Baselines,
    config: EvaluateConfig,
    seed: int,
) -> tuple[list[Figure], list[Comparison]]:
    """Figures and comparisons of the models and of the n-gram model on the same documents and pairs."""
    ngram = Likelihoods(
        [float(record["ngram"]) for record in baselines.documents[: len(documents)]],
        [scores for _, scores in baselines.order[: config.order_pairs]],
    )
    bits, bits_comparisons = _bits(models, ngram, documents, baselines, config, seed)
    if not ngram.pairs or not models:
        return [bits], bits_comparisons
    order, order_comparisons = _order(models, ngram, config, seed)
    return [bits, order], bits_comparisons + order_comparisons


def _bits(
    models: dict[str, Likelihoods],
    ngram: Likelihoods,
    documents: Sequence[Document],
    baselines: Baselines,
    config: EvaluateConfig,
    seed: int,
) -> tuple[Figure, list[Comparison]]:
    how = Resampling.of(config, seed)
    size = [document.bytes for document in documents]
    coded = {who: _to_bits(scores.documents) for who, scores in {**models, "n-gram": ngram}.items()}
    rows = [row(who, bootstrap_ratio(coded[who], size, **how.options), len(size)) for who in models]
    rows.append(row("n-gram", bootstrap_ratio(coded["n-gram"], size, **how.options), len(size), "baseline"))
    compressors = {name: record["value"] for name, record in baselines.bits_per_byte.items() if name != "n-gram"}
    rows += [
        row(name, value, len(baselines.documents), "baseline")
        for name, value in compressors.items()
        if value is not None
    ]
    note = f"{baselines.note} {percent(config.confidence)} intervals, documents as items."
    if len(documents) < len(baselines.documents):
        note += (
            f" Models and n-gram are measured on {len(documents)} of the {len(baselines.documents)} "
            "documents that the compressors had."
        )
    comparisons = []
    for who in models:
        for name, value in compressors.items():
            if name.endswith("primed") and value is not None:
                # A compressor has one figure for all of the text: only the model's part varies.
                comparisons.append(_bits_compared(who, name, coded[who], np.array(size) * value, size, how))
    for a, b in pairs_of(list(models), ["n-gram"]):
        comparisons.append(_bits_compared(a, b, coded[a], coded[b], size, how))
    return figure("held-out text", BITS, "bits per byte", False, rows, note), comparisons


def _order(
    models: dict[str, Likelihoods], ngram: Likelihoods, config: EvaluateConfig, seed: int
) -> tuple[Figure, list[Comparison]]:
    n = len(ngram.pairs)
    rows = [row(who, wilson(sum(scores.right), n, config.confidence), n) for who, scores in models.items()]
    rows.append(row("n-gram", wilson(sum(ngram.right), n, config.confidence), n, "baseline"))
    rows.append(row("chance", 0.5, n, "baseline"))
    right = {**{who: scores.right for who, scores in models.items()}, "n-gram": ngram.right, "chance": [0.5] * n}
    pairs = pairs_of(list(models), ["n-gram", "chance"])
    comparisons = compare_all(ORDER, right, pairs, Resampling.of(config, seed), shares=True)
    note = (
        "A held-out sentence against the same sentence with two of its longer words swapped: right when the "
        "real one is likelier, half right for a tie. One sentence from a document; "
        f"{percent(config.confidence)} Wilson intervals; comparisons in percentage points."
    )
    return figure("word order", ORDER, "share right", True, rows, note), comparisons


def _bits_compared(
    a: str,
    b: str,
    ours: Sequence[float],
    theirs: Sequence[float] | NDArray[np.float64],
    size: Sequence[int],
    how: Resampling,
) -> Comparison:
    return compare_means(
        a, b, BITS, ours, theirs, how, weights=size, higher_is_better=False, unit="bits per byte", digits=3
    )


def _to_bits(logprobs: Sequence[float]) -> list[float]:
    return [-value / math.log(2) for value in logprobs]


def rolling(lm: LanguageModel, what: str, texts: list[str], size: int, log: EventLog) -> list[float]:
    """Natural-log likelihood of each text, with progress."""
    # Sorted by length, so that a batch is not padded to its longest text.
    by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    scores = [0.0] * len(texts)
    for part in batches(log, what, by_length, size, "texts"):
        for i, score in zip(part, lm.rolling([texts[i] for i in part]), strict=True):
            scores[i] = float(score)
    return scores
