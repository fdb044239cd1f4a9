"""Foreign texts are told from fitting ones, and of fitting ones no more are refused than is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tutelage.inference.familiarity import FILE, FOLDER, Familiarity, familiarity
from tutelage.inference.language_model import LanguageModel
from tutelage.inference.scoring import last_states
from tutelage.store.errors import ConfigError, DamagedError

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(size=(4, 24)) * 3
SIZES = RNG.uniform(0.1, 10, 24)


def drawn(count: int, seed: int, foreign: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """States around one of four centres, or of no centre at all, each dimension with a size of its own."""
    rng = np.random.default_rng(seed)
    groups = rng.integers(4, size=count)
    centres = rng.normal(size=(count, 24)) * 3 if foreign else CENTRES[groups]
    return ((centres + rng.normal(size=(count, 24))) * SIZES).astype(np.float32), groups


@pytest.fixture(scope="module")
def fitted() -> Familiarity:
    states, groups = drawn(800, 1)
    return Familiarity.fit(states, groups, drawn(400, 2)[0])


def test_foreign_states_are_refused_and_of_fitting_ones_the_share_that_is_asked(fitted: Familiarity) -> None:
    fresh, foreign = fitted.share(drawn(4000, 3)[0]), fitted.share(drawn(4000, 4, foreign=True)[0])
    for asked in (0.01, 0.05, 0.2):
        assert (fresh < asked).mean() == pytest.approx(asked, abs=0.025)
    assert (foreign < 0.01).mean() > 0.9
    assert fresh.min() >= 1 / 401 and fresh.max() <= 1


def test_the_distance_is_the_relative_mahalanobis_distance() -> None:
    """Against the textbook formula, where nothing is left out or shrunk."""
    states, groups = drawn(500, 5)
    found = Familiarity.fit(states, groups, states)
    along = ((states - states.mean(axis=0)) @ found.axes).astype(np.float64)
    means = np.stack([along[groups == group].mean(axis=0) for group in range(4)])

    def inverse(deviations: np.ndarray) -> np.ndarray:
        covariance = deviations.T @ deviations / len(deviations)
        even = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        return np.linalg.inv(0.9 * covariance + 0.1 * even)

    within, whole = inverse(along - means[groups]), inverse(along)
    x = along[7]
    expected = min((x - mean) @ within @ (x - mean) for mean in means) - x @ whole @ x
    assert found.distance(states)[7] == pytest.approx(expected, rel=1e-3)


def test_it_is_kept_with_the_classifier(fitted: Familiarity, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    states = drawn(50, 6)[0]
    np.testing.assert_array_equal(Familiarity.load(tmp_path).share(states), fitted.share(states))
    path = tmp_path / FOLDER / FILE
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DamagedError, match="incomplete"):
        Familiarity.load(tmp_path)
    with pytest.raises(ConfigError, match="has no data to tell whether"):
        Familiarity.load(tmp_path / "elsewhere")


def test_few_texts_and_a_label_without_one_are_no_harm() -> None:
    states, _ = drawn(5, 7)
    found = Familiarity.fit(states, np.array([0, 3, 3, 0, 3]), drawn(2, 8)[0])
    assert set(found.share(drawn(9, 9)[0]).tolist()) <= {1 / 3, 2 / 3, 1.0}


def test_texts_are_read_as_the_classifier_reads_them(lm: LanguageModel, tmp_path: Path) -> None:
    known = [f"{word} number {number}" for number in range(8) for word in ("lamp", "river")]
    states = last_states(lm.model, lm.read(known)).numpy()
    Familiarity.fit(states[4:], np.arange(12) % 2, states[:4]).save(tmp_path)
    asked = ["a text of its own", "lamp number 77", "and one more"]
    expected = Familiarity.load(tmp_path).share(last_states(lm.model, lm.read(asked)).numpy())
    assert familiarity(lm, tmp_path, asked) == pytest.approx(expected.tolist())
    assert familiarity(lm, tmp_path, asked[1:2]) == pytest.approx(expected[1:2].tolist())
