"""Corpus BLEU: sacrebleu's own numbers, with an interval, beside the source itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.evaluation.metrics import bleu, bleu_counts
from tutelage.evaluation.paired import Resampling
from tutelage.evaluation.translation import are_translations, bleu_figure

SENTENCES = st.lists(
    st.sampled_from(["der", "Hund", "läuft", "über", "das", "Gras", ",", "U.S.", "3.5", "don't"]), max_size=12
)
PAIRS = st.lists(st.tuples(SENTENCES.map(" ".join), SENTENCES.map(" ".join)), min_size=1, max_size=6)


def corpus(hypotheses, references):
    return bleu(np.sum([bleu_counts(a, b) for a, b in zip(hypotheses, references, strict=True)], axis=0))


@given(PAIRS)
def test_it_is_what_sacrebleu_says(pairs):
    sacrebleu = pytest.importorskip("sacrebleu")
    hypotheses, references = map(list, zip(*pairs, strict=True))
    wanted = sacrebleu.corpus_bleu(hypotheses, [references]).score
    assert corpus(hypotheses, references) == pytest.approx(wanted, abs=1e-9)


def test_an_interval_holds_the_value_and_a_perfect_one_is_100():
    references = [f"Der Hund Nummer {n} läuft über das grüne Gras ." for n in range(40)]
    texts = {"same": references, "half": [text if n % 2 else "Ein Ball ." for n, text in enumerate(references)]}
    found = bleu_figure("t", texts, {"same": "model", "half": "baseline"}, references, Resampling(draws=300, seed=1))
    same, half = found["rows"]
    assert same["value"] == same["low"] == same["high"] == 100
    assert half["low"] < half["value"] < half["high"] < 100 and half["kind"] == "baseline"
    again = bleu_figure("t", texts, {"same": "model", "half": "baseline"}, references, Resampling(draws=300, seed=1))
    assert again == found


def test_rows_are_translations_only_where_all_are():
    assert (
        are_translations([{"source": "a"}]) and not are_translations([{"source": "a"}, {}]) and not are_translations([])
    )
