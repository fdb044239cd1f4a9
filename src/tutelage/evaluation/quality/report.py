"""The coherence table: every system against the references, with intervals, paired comparisons and cautions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tutelage.evaluation.endings import loop_of
from tutelage.evaluation.figures import Comparison, Figure, figure, row
from tutelage.evaluation.metrics import repetition
from tutelage.evaluation.paired import Resampling, compare_all
from tutelage.evaluation.quality.divergence import LEAST, between, ngram_features
from tutelage.evaluation.quality.measures import (
    DISTINCT,
    DIVERGENCE,
    ENTROPY,
    GROUP,
    LOOPS,
    PERPLEXITY,
    REPETITION,
    SELF_BLEU,
    SURPRISE,
    Measure,
    bits,
    block_size,
    blocks,
    distinct,
    entropy,
    self_bleu,
)
from tutelage.evaluation.quality.surprise import surprises
from tutelage.evaluation.statistics import Interval, bootstrap_mean, bootstrap_ratio, wilson
from tutelage.store.errors import InputError

if TYPE_CHECKING:
    from tutelage.inference.language_model import LanguageModel

REFERENCES = "references"
_TASK = "coherence"


def coherence(
    parties: Mapping[str, Sequence[str]],
    references: Sequence[str] | None = None,
    reader: tuple[str, LanguageModel] | None = None,
    how: Resampling = Resampling(),
) -> tuple[list[Figure], list[Comparison]]:
    """Figures of every system's texts and of the references, and paired comparisons of systems with the same number of
    texts (to the same prompts, in order).

    reader: a model that scores the texts and whose hidden states are the features of `closeness`; without one these are
    n-grams. Raises InputError for a system with fewer than two texts, or without words.
    """
    everyone = dict(parties) if references is None else {**parties, REFERENCES: references}
    for who, texts in everyone.items():
        if len(texts) < 2 or not any(text.strip() for text in texts):
            raise InputError(f"{who}: at least two texts with words are required")
    size = block_size(list(everyone.values()))
    cut = {who: blocks(texts, size) for who, texts in everyone.items()}
    again = {who: [repetition(text, 4) for text in texts] for who, texts in everyone.items()}
    loops = {who: [loop_of(text) is not None for text in texts] for who, texts in everyone.items()}
    counts = {who: len(texts) for who, texts in everyone.items()}

    def means(values: Mapping[str, Sequence[float]]) -> dict[str, Interval | float]:
        return {who: bootstrap_mean(of, **how.options) for who, of in values.items() if len(of)}

    figures = [
        _figure(DISTINCT, means({who: [distinct(one) for one in of] for who, of in cut.items()}), counts, block=size),
        _figure(ENTROPY, means({who: [entropy(one) for one in of] for who, of in cut.items()}), counts, block=size),
        _figure(REPETITION, means(again), counts),
        _figure(LOOPS, {who: wilson(sum(of), len(of), how.confidence) for who, of in loops.items()}, counts),
        _figure(SELF_BLEU, means({who: self_bleu(texts) for who, texts in everyone.items()}), counts, others=GROUP - 1),
    ]
    if references is not None and len(references) >= 4:
        figures.append(_surprise(everyone, counts, how))
    if reader is not None:
        figures.append(_read(everyone, counts, reader, how))
    if references is not None:
        draw = min([len(references) // 2, *(len(texts) for texts in parties.values())])
        figures += [_closeness(everyone, counts, draw, reader)] if draw >= LEAST else []
    alike = {who for who, texts in parties.items() if len(texts) == len(next(iter(parties.values())))}
    pairs = [(a, b) for at, a in enumerate(parties) for b in list(parties)[:at] if {a, b} <= alike]
    comparisons = compare_all(LOOPS.name, loops, pairs, how, shares=True, higher_is_better=False)
    points = {who: [100 * value for value in values] for who, values in again.items()}
    comparisons += compare_all(REPETITION.name, points, pairs, how, unit="points", higher_is_better=False)
    return figures, comparisons


def _surprise(everyone: Mapping[str, Sequence[str]], counts: Mapping[str, int], how: Resampling) -> Figure:
    others = [who for who in everyone if who != REFERENCES]
    scored = surprises(everyone[REFERENCES], [everyone[who] for who in others], how.seed)
    found: dict[str, Interval | float] = {
        who: bootstrap_ratio(top, bottom, **how.options)
        for who, (top, bottom) in zip([*others, REFERENCES], scored, strict=True)
    }
    return _figure(SURPRISE, found, counts)


def _read(
    everyone: Mapping[str, Sequence[str]], counts: Mapping[str, int], reader: tuple[str, LanguageModel], how: Resampling
) -> Figure:
    name, lm = reader
    found: dict[str, Interval | float] = {}
    for who, texts in everyone.items():
        kept = [text for text in texts if text]
        sizes = [len(text.encode("utf-8")) for text in kept]
        found[who] = bootstrap_ratio(bits(lm.rolling(kept)), sizes, **how.options)
    return _figure(PERPLEXITY, found, counts, reader=name)


def _closeness(
    everyone: Mapping[str, Sequence[str]], counts: Mapping[str, int], size: int,
    reader: tuple[str, LanguageModel] | None,
) -> Figure:  # fmt: skip
    sets = list(everyone.values())
    features = ngram_features(sets) if reader is None else [_states(reader[1], texts) for texts in sets]
    of = dict(zip(everyone, features, strict=True))
    others = [who for who in everyone if who != REFERENCES]
    found: dict[str, Interval | float] = {who: between(of[who], of[REFERENCES], size) for who in others}
    found[REFERENCES] = between(of[REFERENCES], None, size)
    named = "word and character n-grams" if reader is None else f"the states of {reader[0]}"
    return _figure(DIVERGENCE, found, counts, features=named, size=size)


def _states(lm: LanguageModel, texts: Sequence[str]) -> NDArray[np.float64]:
    """Hidden state of the last token of each text, truncated to the context."""
    from tutelage.inference.scoring import last_states

    rows = [lm.prompt_ids(text)[: lm.context] for text in texts]
    return last_states(lm.model, rows).double().numpy()


def _figure(measure: Measure, values: Mapping[str, Interval | float], counts: Mapping[str, int], **said: Any) -> Figure:
    rows = [
        row(who, value, counts[who], "reference" if who == REFERENCES else "model") for who, value in values.items()
    ]
    better = measure in (DISTINCT, ENTROPY, DIVERGENCE)  # direction without references
    made = figure(_TASK, measure.name, measure.unit, better, rows, measure.definition.format(**said))
    made["cautions"] = list(measure.cautions)
    return made
