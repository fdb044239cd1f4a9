"""Preflight check of a classifier's training data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.finetuning.classify.config import ClassifyConfig
from tutelage.finetuning.classify.rows import framed, labels_of, own_rows
from tutelage.finetuning.classify.suspects import MOST, suspected
from tutelage.finetuning.data import Row
from tutelage.finetuning.preflight.account import labels_account
from tutelage.model.config import ModelConfig
from tutelage.store.events import EventLog
from tutelage.tokenizer.tokenizer import Tokenizer

FOLDS = 5
MOST_ROWS = 20_000  # limit for the label check, which otherwise takes more than seconds
SHOWN = 5
_SMOOTHING = 0.3  # of naive Bayes


def preflight(
    config: ClassifyConfig, tok: Tokenizer, model: ModelConfig, log: EventLog, data_seed: int
) -> dict[str, Any]:
    """Labels, lengths, duplicates and doubtful labels of the user's file. Raises InputError for an unusable file."""
    rows, audit = own_rows(config, log, data_seed)
    rows.tell(log)
    chosen = labels_of(config, rows.train, rows.heldout)
    chosen.tell(log)
    train, heldout = ([row for row in side if row["label"] in chosen.kept] for side in (rows.train, rows.heldout))
    limit = min(config.max_tokens, config.context_length, model.max_position_embeddings)
    return labels_account(
        framed(tok, config.frame, model),
        train,
        heldout,
        limit,
        audit,
        config.columns,
        noise=label_noise(train, chosen.kept),
        ordinal=config.ordinal,
        dropped=chosen.plain()["dropped"],
    )


def label_noise(rows: Sequence[Row], labels: Sequence[str]) -> dict[str, Any] | None:
    """Training texts whose label is unlikely by an out-of-fold fit (TF-IDF with logistic regression)."""
    if len(rows) > MOST_ROWS:
        return None
    unseen = unseen_probabilities([row["text"] for row in rows], [row["label"] for row in rows], labels)
    if unseen is None:
        return None
    doubtful = suspected(rows, labels, unseen)
    number = {label: index for index, label in enumerate(labels)}
    right = float((unseen.argmax(axis=1) == [number[row["label"]] for row in rows]).mean())
    return {"suspected": len(doubtful), "accuracy": round(right, 4), "most": doubtful[:SHOWN], "most_counted": MOST}


def unseen_probabilities(
    texts: Sequence[str], given: Sequence[str], labels: Sequence[str]
) -> NDArray[np.float64] | None:
    """Out-of-fold probabilities [texts, labels]; None if a fit is impossible (a label with a single text, or no words).

    `given`: the label of each text. The mean of logistic regression and naive Bayes on TF-IDF, since an error of both
    is rarer.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    counts = Counter(given)
    folds = min(FOLDS, min(counts[label] for label in labels))
    if folds < 2:
        return None
    fits = (LogisticRegression(C=10.0, max_iter=200), MultinomialNB(alpha=_SMOOTHING))
    number = {label: index for index, label in enumerate(labels)}
    targets = np.array([number[name] for name in given])
    split = StratifiedKFold(folds, shuffle=True, random_state=0)
    try:
        found = [
            cross_val_predict(
                make_pipeline(TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2)), fit),
                list(texts), targets, cv=split, method="predict_proba",
            )
            for fit in fits
        ]  # fmt: skip
    except ValueError:  # no text contains a word
        return None
    return np.asarray(np.mean(found, axis=0), np.float64)
