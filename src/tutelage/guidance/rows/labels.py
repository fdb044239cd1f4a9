"""What label a text has, by fits that have not seen it: on its words, and on the states of a frozen model."""

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

MOST_TOKENS = 256  # of a text that a model reads
_WORDS = 1 / 3  # of the judgement, beside that of a model
Places = NDArray[np.int64]
States = Mapping[int, NDArray[np.float32]]  # of texts, after so many layers


def by_words(texts: Sequence[str], given: Places, labels: int) -> Floats | None:
    """Probabilities [texts, labels] by TF-IDF with logistic regression and by naive Bayes, each text by fits on other
    folds; None where no fit can be made. given: number of the label of each text."""
    names = [str(number) for number in range(labels)]
    return unseen_probabilities(texts, [names[number] for number in given], names)


def by_states(states: States, given: Places, labels: int) -> Floats:
    """The same by logistic regression on the states of a frozen model; layer and strength are those that foretell what
    is left out best."""
    wanted, ones = np.eye(labels, dtype=np.float32)[given], np.ones(len(given))
    with threadpool_limits(1, user_api="blas"):
        mine = max(states.values(), key=lambda one: left_out_score(one, wanted, "softmax"))
        strength = choose_strength(mine, wanted, ones, "softmax", EventLog())
        scores = unseen_scores(mine, wanted, ones, strength, folds(mine), "softmax")
    return np.asarray(likelihood(scores, wanted, "softmax")[1], np.float64)


def together(read: Floats, words: Floats | None) -> Floats:
    """A model's judgement with that of the words."""
    return read if words is None else (1 - _WORDS) * read + _WORDS * words


def read_states(texts: Sequence[str], lm: LanguageModel, log: EventLog) -> States:
    """What a frozen model holds of each text, at the depths that may be chosen. The first 256 tokens are read; how
    many texts are longer is said."""
    lm.require_text()
    longest = min(MOST_TOKENS, lm.context)
    encoded = [lm.prompt_ids(text) for text in texts]
    if cut := sum(len(ids) > longest for ids in encoded):
        log.note(f"of {cut:,} texts the model reads the first {longest} tokens only")
    depths = sorted({max(1, round(share * lm.model.config.num_layers)) for share in DEPTHS})
    return last_states(lm.model, [ids[:longest] for ids in encoded], depths, TrainingConfig(), log)


Unseen = Callable[[Places, Places, int], Floats | None]
"""(places of rows, number of the label of each, labels) -> probabilities [rows, labels], None where none can be had."""
