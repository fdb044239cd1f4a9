"""How much more data do I need? A learning curve on shares of the rows, and its extrapolation.

Measured with models that train in seconds: TF-IDF with logistic regression for labels, a byte-level n-gram model for
texts and answers. A language model starts higher and flattens elsewhere; if one was trained on shares of the rows
(`--learning-curve`), its own curve is the better answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.evaluation.classifiers import tfidf_baseline
from tutelage.evaluation.curve import bits_gain, doubling_gain
from tutelage.evaluation.ngram import NGram
from tutelage.evaluation.statistics import Interval
from tutelage.finetuning.data.split import normalised
from tutelage.guidance.rows.reading import FileRow, FileRows
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.hashing import sha256_text
from tutelage.store.progress import ticker

SHARES = (0.125, 0.25, 0.5, 1.0)
TIMES = (2.0, 4.0, 10.0)
FEWEST = 80  # rows, so that an eighth of the training rows is ten
FLAT = 0.01  # share of the present error or bits below which doubling is not worthwhile
_FOLDS = 5
_STRENGTH = 6.0  # C of the logistic regression, fixed so that points differ only in rows
_ORDER = 5  # bytes of the n-gram model
_CONFIDENCE, _DRAWS = 0.95, 500
_MOST_BYTES = 4_000_000  # of text that the n-gram model is trained on
_BYTES, _END = 257, 256


def more_data(found: FileRows, log: EventLog, seed: int = 1) -> dict[str, Any]:
    """The curve and its extrapolation, as plain data.

    `points`: training rows and measured value; `promises`: factor on the rows, predicted change and its interval;
    `text`: the answer in a sentence. Duplicates are removed first, as they would be on both sides, and counted. Raises
    InputError for less than 80 distinct rows.
    """
    rows, doubled = _different(found.rows)
    if len(rows) < FEWEST:
        raise InputError(f"{found.file} has {len(rows)} distinct rows; a learning curve requires {FEWEST}")
    rows.sort(key=lambda row: sha256_text(f"{seed}:{row.whole}"))
    if found.kind == "classify":
        sizes, hits = _label_points(rows, log, seed)
        values = [round(100 * float(one.mean()), 2) for one in hits]
        gains = [doubling_gain(sizes, hits, _CONFIDENCE, _DRAWS, seed, times) for times in TIMES]
        figure, who, left = "accuracy in percent", "TF-IDF", 100 - values[-1]
    else:
        sizes, bits, weights = _text_points([row.answer or row.text for row in rows], log)
        values = [round(float(one.sum() / weights.sum()), 4) for one in bits]
        gains = [bits_gain(bits, weights, _CONFIDENCE, _DRAWS, seed, times) for times in TIMES]
        figure, who, left = "bits per byte", "an n-gram model", values[-1]
    promises = [
        {"times": times, "rows": round(times * sizes[-1]), **_bounds(gain)}
        for times, gain in zip(TIMES, gains, strict=True)
    ]
    return {
        "file": found.file,
        "kind": found.kind,
        "rows": len(rows),
        "doubled": doubled,
        "dropped": found.dropped,
        "measure": figure,
        "measured_with": who,
        "points": [{"rows": size, "value": value} for size, value in zip(sizes, values, strict=True)],
        "promises": promises,
        "text": _said(gains[0], left, figure, who, sizes[-1]),
    }


def _different(rows: Sequence[FileRow]) -> tuple[list[FileRow], int]:
    """Rows with distinct texts, and number of duplicates."""
    first: dict[str, FileRow] = {}
    for row in rows:
        first.setdefault(normalised(row.text), row)
    return list(first.values()), len(rows) - len(first)


def _label_points(rows: Sequence[FileRow], log: EventLog, seed: int) -> tuple[list[int], list[NDArray[np.bool_]]]:
    """Training rows of each point, and for each row whether its held-out prediction is right (five folds)."""
    items = [{"text": row.text, "label": row.answer} for row in rows]
    hits = [np.zeros(len(rows), bool) for _ in SHARES]
    tick = ticker(log, "learning curve", _FOLDS * len(SHARES), "fits")
    sizes = [0] * len(SHARES)
    for fold in range(_FOLDS):
        held = np.arange(fold, len(rows), _FOLDS)
        train = [item for at, item in enumerate(items) if at % _FOLDS != fold]
        for point, share in enumerate(SHARES):
            part = train[: max(2, round(share * len(train)))]
            made = tfidf_baseline(part, [items[at] for at in held], strengths=(_STRENGTH,), seed=seed)
            truth = [row.answer for row in rows[fold::_FOLDS]]
            hits[point][held] = [label == right for label, right in zip(made.labels, truth, strict=True)]
            sizes[point] = len(part)
            tick(fold * len(SHARES) + point + 1)
    return sizes, hits


def _text_points(
    texts: Sequence[str], log: EventLog
) -> tuple[list[int], NDArray[np.float64], NDArray[np.float64]]:  # fmt: skip
    """Training texts of each point, bits of each held-out text [points, texts], and their sizes in bytes."""
    encoded = [np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int64) for text in texts]
    held, train = encoded[::_FOLDS], [one for at, one in enumerate(encoded) if at % _FOLDS]
    read = np.cumsum([len(one) for one in train])
    train = train[: int(np.searchsorted(read, _MOST_BYTES)) + 1]
    if len(train) < len(read):
        log.note(f"the curve uses the first {len(train):,} of {len(read):,} training rows (4 MB)")
    held = held[: max(20, len(train) // 4)]
    tick = ticker(log, "learning curve", len(SHARES), "models")
    sizes, bits = [], []
    for point, share in enumerate(SHARES):
        part = train[: max(2, round(share * len(train)))]
        model = NGram.train(part, _BYTES, _ORDER, _END)
        bits.append([-float(one.sum()) / math.log(2) for one in model.logprob(held)])
        sizes.append(len(part))
        tick(point + 1)
    return sizes, np.array(bits), np.array([max(1, len(one)) for one in held], np.float64)


def _bounds(gain: Interval) -> dict[str, float | None]:
    rounded = [None if value is None else round(value, 4) for value in (gain.value, gain.low, gain.high)]
    return dict(zip(("change", "low", "high"), rounded, strict=True))


def _said(gain: Interval, left: float, figure: str, who: str, rows: int) -> str:
    """The answer in a sentence: gain by doubling the rows, and whether it is worthwhile."""
    points = figure.startswith("accuracy")
    unit = "points of accuracy" if points else "bits per byte"
    digits = 1 if points else 3
    bounds = "" if gain.low is None else f" [{gain.low:+.{digits}f}, {gain.high:+.{digits}f}]"
    said = f"doubling the {rows:,} training rows changes {who} by about {gain.value:+.{digits}f}{bounds} {unit}"
    if gain.low is None or gain.high is None:
        return f"{said}; too few rows for an interval"
    best = gain.high if points else -gain.low  # the upper bound of the gain
    sure = gain.low > 0 if points else gain.high < 0
    if sure:
        return f"{said}: more data will help"
    if best < FLAT * left:
        return f"{said}: more of the same will not help; check the rows with `tutelage data doubtful`"
    return f"{said}: too few rows to tell whether more data helps"
