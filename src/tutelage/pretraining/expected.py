"""Predicted bits per byte of a fresh model, before it is trained: from small runs of our own.

The runs are in `reference_runs.json` (`benchmarks/reference_runs.py` makes them, by the default settings): several
widths, lengths, vocabularies and kinds of English text. Their bits per byte, divided by what PPMd needs for a sample
of the same text (`corpus.sample`), are fitted as a law of the parameters inside the blocks, the bytes of text that
are read (repeated text counts less: Muennighoff et al. 2023) and the size of the vocabulary.

The range covers the scatter of the runs around the law, the uncertainty of the law and, for a text that is not among
them, how far the law of all other texts was off for each in turn. It does not cover other optimizers or learning rates
far from the default; for those there is no prediction.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from tutelage.pretraining.scaling import Law, Point, Predicted, draws, effective_data, enlarged, fit, predict
from tutelage.pretraining.sizing import learning_rate
from tutelage.training.config import TrainingConfig

RUNS, LAW = "reference_runs.json", "reference_law.json"
LEVEL = 0.9  # of the range
DRAWS, ROUNDS = 40, 4
SIMILAR_RATE = 2.0  # times more or less than `sizing.learning_rate`


@dataclass(frozen=True)
class Reference:
    """The law of the reference runs. offsets: deviation of log loss from it for each of their texts; between: the same
    for other texts. largest_blocks, largest_bytes: parameters inside the blocks, and effective bytes, of the largest
    runs."""

    law: Law
    drawn: tuple[Law, ...]
    offsets: dict[str, float]
    between: float
    largest_blocks: float
    largest_bytes: float
    runs: int


@cache
def reference() -> Reference:
    """The fit stored in the package."""
    stored = json.loads(_read(LAW))
    law, *drawn = [_law(one) for one in (stored.pop("law"), *stored.pop("drawn"))]
    return Reference(law, tuple(drawn), **stored)


def reference_runs() -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = json.loads(_read(RUNS))
    return runs


def fitted(runs: Sequence[dict[str, Any]]) -> Reference:
    """The law of these runs, as `benchmarks/reference_runs.py` writes it into the package."""
    texts = {text: [_point(run) for run in runs if run["text"] == text] for text in {run["text"]: 0 for run in runs}}
    offsets, even = _aligned(texts)
    law = fit(even)
    blocks, _, seen = zip(*(point.sizes for point in even), strict=True)
    return Reference(
        law, tuple(draws(law, even, DRAWS)), offsets, _between(texts), max(blocks), max(seen), len(runs)
    )  # fmt: skip


def expected_bits(
    blocks: float, vocabulary: int, unique: float, seen: float, ppmd_bits: float, text: str = ""
) -> Predicted:
    """Held-out bits per byte of a model with this many parameters inside its blocks that reads `seen` bytes of a text
    of `unique` bytes, with the ends of a range of 90 %. ppmd_bits: of the text, by `corpus.sample`. text: its name
    if it is one of the reference texts, for which the prediction is sharper."""
    known = reference()
    beside = 0.0 if text in known.offsets else known.between
    relative = predict(known.law, known.drawn, (blocks, vocabulary, effective_data(unique, seen)), LEVEL, beside)
    scale = ppmd_bits * math.exp(known.offsets.get(text, 0.0))
    return Predicted(relative.middle * scale, relative.low * scale, relative.high * scale)


@cache
def least_bytes() -> float:
    """Effective bytes below which there is no prediction: half of what the shortest reference run read."""
    return min(_point(run).sizes[2] for run in reference_runs()) / 2


def by_the_defaults(training: TrainingConfig, parameters: float) -> bool:
    """Whether a run is trained similarly to the reference runs, so that they are informative."""
    ratio = training.learning_rate / learning_rate(parameters)
    return (
        training.optimizer == "muon"
        and 1 / SIMILAR_RATE <= ratio <= SIMILAR_RATE
        and training.schedule != "constant"
        and training.final_fraction <= 0.1
    )


def _read(name: str) -> str:
    return resources.files("tutelage.pretraining").joinpath(name).read_text(encoding="utf-8")


def _law(stored: dict[str, Any]) -> Law:
    lists = {key: tuple(stored[key]) for key in ("scales", "factors", "exponents")}
    return Law(stored["floor"], **lists, scatter=stored["scatter"])


def _point(run: dict[str, Any]) -> Point:
    seen = effective_data(run["train_bytes"], run["passes"] * run["train_bytes"])
    return Point(
        (float(run["block_parameters"]), float(run["vocab_size"]), seen), run["bits_per_byte"] / run["ppmd_bits"]
    )


def _aligned(texts: Mapping[str, Sequence[Point]]) -> tuple[dict[str, float], list[Point]]:
    """Deviation of each text from the common law, with mean zero, and all runs with that removed."""
    offsets = dict.fromkeys(texts, 0.0)
    for _ in range(ROUNDS):
        law = fit(_moved(texts, offsets))
        found = {text: _off(law, points) for text, points in texts.items()}
        mean = sum(found.values()) / len(found)
        offsets = {text: off - mean for text, off in found.items()}
    return offsets, _moved(texts, offsets)


def _moved(texts: Mapping[str, Sequence[Point]], offsets: Mapping[str, float]) -> list[Point]:
    return [Point(one.sizes, one.loss * math.exp(-offsets[text])) for text, points in texts.items() for one in points]


def _between(texts: Mapping[str, Sequence[Point]]) -> float:
    """Root mean square, over texts, of how far the law of all other texts is off for each; enlarged, because they
    are few."""
    off = [_off(fit([one for other in texts if other != text for one in texts[other]]), texts[text]) for text in texts]
    return enlarged(len(off) - 1) * math.sqrt(sum(one**2 for one in off) / len(off))


def _off(law: Law, points: Sequence[Point]) -> float:
    """Mean log ratio of these losses to a law."""
    return sum(math.log(point.loss / law.loss(*point.sizes)) for point in points) / len(points)
