"""Out-of-fold label probabilities of texts, from words and from hidden states of a frozen model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tutelage.corpus.selection.features import Floats
from tutelage.finetuning.classify.config import DEPTHS
from tutelage.finetuning.classify.frozen import last_states
from tutelage.finetuning.classify.linear import (
    choose_strength,
    folds,
    left_out_score,
    likelihood,
    unseen_scores,
)
from tutelage.finetuning.classify.preflight import unseen_probabilities
from tutelage.inference.language_model import LanguageModel
from tutelage.store.events import EventLog
from tutelage.training.config import TrainingConfig

MOST_TOKENS = 256  # per text read by a model
_WORDS = 1 / 3  # weight of words next to a model
Places = NDArray[np.int64]
States = Mapping[int, NDArray[np.float32]]  # of texts, by number of layers


def by_words(texts: Sequence[str], given: Places, labels: int) -> Floats | None:
    """Out-of-fold probabilities [texts, labels] by logistic regression and naive Bayes on TF-IDF; None if a fit is
    impossible. given: label index of each text."""
    names = [str(number) for number in range(labels)]
    return unseen_probabilities(texts, [names[number] for number in given], names)


def by_states(states: States, given: Places, labels: int) -> Floats:
    """Out-of-fold probabilities by logistic regression on the states of a frozen model; layer and penalty are chosen by
    cross-validation."""
    wanted, ones = np.eye(labels, dtype=np.float32)[given], np.ones(len(given))
    with threadpool_limits(1, user_api="blas"):
        mine = max(states.values(), key=lambda one: left_out_score(one, wanted, "softmax"))
        strength = choose_strength(mine, wanted, ones, "softmax", EventLog())
        scores = unseen_scores(mine, wanted, ones, strength, folds(mine), "softmax")
    return np.asarray(likelihood(scores, wanted, "softmax")[1], np.float64)


def together(read: Floats, words: Floats | None) -> Floats:
    """Weighted mean of the probabilities from states and from words."""
    return read if words is None else (1 - _WORDS) * read + _WORDS * words


def read_states(texts: Sequence[str], lm: LanguageModel, log: EventLog) -> States:
    """Hidden states of each text at the candidate depths. Texts are truncated to 256 tokens; truncated ones are counted
    in the log."""
    lm.require_text()
    longest = min(MOST_TOKENS, lm.context)
    encoded = [lm.prompt_ids(text) for text in texts]
    if cut := sum(len(ids) > longest for ids in encoded):
        log.note(f"{cut:,} texts are truncated to {longest} tokens for the model")
    depths = sorted({max(1, round(share * lm.model.config.num_layers)) for share in DEPTHS})
    return last_states(lm.model, [ids[:longest] for ids in encoded], depths, TrainingConfig(), log)


Unseen = Callable[[Places, Places, int], Floats | None]
"""(row indices, label index of each, number of labels) -> probabilities [rows, labels] or None."""
