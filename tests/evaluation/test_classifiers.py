"""The classification baseline has to be a strong one."""

from __future__ import annotations

import numpy as np
import pytest

from tutelage.evaluation.classifiers import LogisticRegression, TfIdf, majority, train_logistic
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog

TOPICS = {
    "graphs": ["node", "edge", "path", "graph", "cycle", "degree"],
    "text": ["string", "character", "encode", "unicode", "format", "pattern"],
    "files": ["open", "path", "directory", "write", "read", "buffer"],
}


def _labelled(seed: int, count: int) -> tuple[list[str], list[str]]:
    generator = np.random.default_rng(seed)
    common = ["the", "returns", "value", "of", "given", "object", "if", "not", "with"]
    labels = [str(label) for label in generator.choice(list(TOPICS), size=count, p=[0.5, 0.3, 0.2])]
    texts = [" ".join([*generator.choice(TOPICS[label], 3), *generator.choice(common, 8)]) for label in labels]
    return texts, labels


def _fitted(strengths: tuple[float, ...] = (1.0, 10.0)) -> LogisticRegression:
    return train_logistic(*_labelled(1, 300), EventLog(), strengths)


def test_learns_topics_and_gives_probabilities() -> None:
    model = _fitted()
    texts, labels = _labelled(2, 200)
    prediction = model.predict(texts)
    hits = sum(a == b for a, b in zip(prediction.labels, labels, strict=True))
    assert hits / 200 > 0.93
    assert np.allclose(model.probabilities(texts).sum(axis=1), 1.0)
    assert all(1 / 3 <= sure <= 1 for sure in prediction.confidence)
    assert model.strength in (1.0, 10.0)


def test_is_deterministic() -> None:
    assert np.array_equal(_fitted().weight, _fitted().weight)


def test_the_fit_is_a_minimum() -> None:
    """At the optimum the gradient of the penalised loss vanishes: for the bias, predicted = true frequencies."""
    texts, labels = _labelled(1, 300)
    model = train_logistic(texts, labels, EventLog(), (1.0,))
    mean = model.probabilities(texts).sum(axis=0)
    counts = [labels.count(label) for label in model.labels]
    assert mean == pytest.approx(counts, abs=0.05)


def test_tfidf_rows_have_unit_length_and_rare_terms_are_dropped() -> None:
    vectorizer = TfIdf.fit(["alpha beta", "alpha beta gamma", "delta"])
    assert set(vectorizer.vocabulary) == {"alpha", "beta", "alpha beta"}
    starts, _, values = vectorizer.rows(["alpha beta beta", "delta"])
    assert list(starts) == [0, 3, 3]
    assert (values**2).sum() == pytest.approx(1.0)


def test_nothing_in_common_is_an_error() -> None:
    with pytest.raises(InputError, match="no word occurs in two"):
        TfIdf.fit(["alpha", "beta"])


def test_majority() -> None:
    prediction = majority(["a", "b", "b"], 2)
    assert prediction.labels == ["b", "b"]
    assert prediction.confidence == pytest.approx([2 / 3, 2 / 3])


@pytest.mark.parity
def test_same_as_scikit_learn() -> None:
    text = pytest.importorskip("sklearn.feature_extraction.text")
    linear = pytest.importorskip("sklearn.linear_model")
    texts, labels = _labelled(1, 300)
    held, _ = _labelled(2, 100)
    vectorizer = text.TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    reference = linear.LogisticRegression(C=3.0, max_iter=2000, tol=1e-8)
    reference.fit(vectorizer.fit_transform(texts), labels)
    ours = train_logistic(texts, labels, EventLog(), (3.0,))
    assert ours.labels == tuple(reference.classes_)
    assert np.allclose(ours.probabilities(held), reference.predict_proba(vectorizer.transform(held)), atol=1e-3)
