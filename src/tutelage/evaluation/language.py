"""Held-out text: bits per byte and word order of models, against compressors, n-grams and chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tutelage.evaluation.baselines import Baselines, Document
from tutelage.evaluation.clusters import MIN_CLUSTERS, design_effect, ratio_interval, share_interval, usable
from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.figures import Comparison, Figure, figure, row
from tutelage.evaluation.order import Pair
from tutelage.evaluation.paired import Clusters, Resampling, compare_all, compare_means, pairs_of
from tutelage.evaluation.verdicts import percent
from tutelage.store.events import EventLog
from tutelage.store.progress import batches

if TYPE_CHECKING:
    from tutelage.inference.language_model import LanguageModel

BITS, ORDER = "bits per byte", "word order"
SATURATED = 0.85  # of the pairs that a model without a neural network has right


@dataclass(frozen=True)
class Likelihoods:
    """A system's natural-log likelihoods: of each document, and of each word-order pair (real, swapped)."""

    documents: list[float]
    pairs: list[tuple[float, float]]

    @property
    def right(self) -> list[float]:
        """1 if the real sentence is likelier, 0 if the swapped one is, 0.5 for a tie."""
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
    sources = [pair.source for pair, _ in baselines.order[: config.order_pairs]]
    order, order_comparisons = _order(models, ngram, sources, config, seed)
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
    sources = [document.source for document in documents]
    clusters = usable(sources)
    coded = {who: _to_bits(scores.documents) for who, scores in {**models, "n-gram": ngram}.items()}
    rows = [row(who, ratio_interval(coded[who], size, clusters, **how.options), len(size)) for who in models]
    ngrams = ratio_interval(coded["n-gram"], size, clusters, **how.options)
    rows.append(row("n-gram", ngrams, len(size), "baseline"))
    compressors = {name: record["value"] for name, record in baselines.bits_per_byte.items() if name != "n-gram"}
    rows += [
        row(name, value, len(baselines.documents), "baseline")
        for name, value in compressors.items()
        if value is not None
    ]
    note = f"{baselines.note} {percent(config.confidence)} intervals, {_units_note(sources, clusters, coded, size)}."
    if len(documents) < len(baselines.documents):
        note += (
            f" Models and n-gram are measured on {len(documents)} of the {len(baselines.documents)} "
            "documents that the compressors read."
        )
    comparisons = []
    for who in models:
        for name, value in compressors.items():
            if name.endswith("primed") and value is not None:
                # A compressor has one figure for all of the text: only the model's part varies.
                comparisons.append(_bits_compared(who, name, coded[who], np.array(size) * value, size, how, clusters))
    for a, b in pairs_of(list(models), ["n-gram"]):
        comparisons.append(_bits_compared(a, b, coded[a], coded[b], size, how, clusters))
    return figure("held-out text", BITS, "bits per byte", False, rows, note), comparisons


def _order(
    models: dict[str, Likelihoods], ngram: Likelihoods, sources: Sequence[str], config: EvaluateConfig, seed: int
) -> tuple[Figure, list[Comparison]]:
    n, clusters = len(ngram.pairs), usable(sources)
    rows = [row(who, share_interval(scores.right, clusters, config.confidence), n) for who, scores in models.items()]
    rows.append(row("n-gram", share_interval(ngram.right, clusters, config.confidence), n, "baseline"))
    rows.append(row("chance", 0.5, n, "baseline"))
    right = {**{who: scores.right for who, scores in models.items()}, "n-gram": ngram.right, "chance": [0.5] * n}
    pairs = pairs_of(list(models), ["n-gram", "chance"])
    comparisons = compare_all(ORDER, right, pairs, Resampling.of(config, seed), shares=True, clusters=clusters)
    note = (
        "A held-out sentence against the same sentence with two of its longer words swapped: right when the "
        "real one is likelier, half right for a tie. One sentence from a document; "
        f"{percent(config.confidence)} Wilson intervals{', sources as clusters' if clusters else ''}; "
        "comparisons in percentage points."
    )
    if sum(ngram.right) >= SATURATED * n:
        note += f" Nearly saturated: the n-gram model is right in {100 * sum(ngram.right) / n:.0f} %, which leaves "
        note += "little to measure; read bits per byte instead."
    return figure("word order", ORDER, "share right", True, rows, note), comparisons


def _bits_compared(
    a: str,
    b: str,
    ours: Sequence[float],
    theirs: Sequence[float] | NDArray[np.float64],
    size: Sequence[int],
    how: Resampling,
    clusters: Clusters,
) -> Comparison:
    return compare_means(
        a, b, BITS, ours, theirs, how, weights=size, higher_is_better=False, unit="bits per byte", digits=3,
        clusters=clusters,
    )  # fmt: skip


def _units_note(sources: Sequence[str], clusters: Clusters, coded: dict[str, list[float]], size: Sequence[int]) -> str:
    """The unit of the intervals: sources if there are enough of them, else documents."""
    count = len(set(sources))
    if clusters is not None:
        wider = design_effect(next(iter(coded.values())), clusters, size)
        return (
            f"sources as clusters ({count} of them): documents of one source are alike. With documents as items "
            f"it would be {wider:.1f} times narrower" if wider >= 1.05 else f"sources as clusters ({count} of them)"
        )  # fmt: skip
    if 1 <= count < len(sources) and count < MIN_CLUSTERS:
        of = "one source" if count == 1 else f"{count} sources"
        return f"documents as items: valid for more text of the same {of}, not of others"
    return "documents as items"


def _to_bits(logprobs: Sequence[float]) -> list[float]:
    return [-value / math.log(2) for value in logprobs]


def rolling(lm: LanguageModel, what: str, texts: list[str], size: int, log: EventLog) -> list[float]:
    """Natural-log likelihood of each text, with progress."""
    # Sorted by length to minimise padding.
    by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    scores = [0.0] * len(texts)
    for part in batches(log, what, by_length, size, "texts"):
        for i, score in zip(part, lm.rolling([texts[i] for i in part]), strict=True):
            scores[i] = float(score)
    return scores
