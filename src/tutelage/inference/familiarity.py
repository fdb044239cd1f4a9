"""Whether a text is like those that a classifier was trained on, or "none of these"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tutelage.inference.scoring import last_states
from tutelage.store.errors import ConfigError, DamagedError
from tutelage.store.files import write_atomic

if TYPE_CHECKING:
    from tutelage.inference.language_model import LanguageModel

FOLDER, FILE = "familiarity", "reference.safetensors"
AXES = 64  # principal axes of the states that are kept
_SHRINK = 0.1  # of a covariance towards a multiple of the identity
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Familiarity:
    """Relative Mahalanobis distance of states (Ren et al. 2021), and that of held-out texts to compare it with.

    `centre` [hidden_size], `axes` [hidden_size, k]: what is measured is (state - centre) @ axes. `means` [groups, k]
    are those of the labels, where `within` [k, k] whitens the scatter around them, `whole` [k, k] that around the
    centre. `distances` [texts]: of the held-out texts, ascending.
    """

    centre: Floats
    axes: Floats
    means: Floats
    within: Floats
    whole: Floats
    distances: Floats

    @classmethod
    def fit(cls, states: Floats, groups: NDArray[np.int64], heldout: Floats) -> Familiarity:
        """states [texts, hidden_size] of training texts and the label of each (0, 1, ...), and of held-out texts."""
        centre = states.mean(axis=0)
        spread = states.std(axis=0) + 1e-6
        _, size, axes = np.linalg.svd((states - centre) / spread, full_matrices=False)
        there = max(1, int((size > 1e-4 * size[0]).sum()))
        axes = (axes[: min(AXES, there)] / spread).T.astype(np.float32)
        along = (states - centre) @ axes
        _, groups = np.unique(groups, return_inverse=True)  # a rare label may have no text here
        means = np.stack([along[groups == group].mean(axis=0) for group in range(groups.max() + 1)])
        found = cls(
            centre, axes, means, _whitening(along - means[groups]), _whitening(along), np.zeros(0, np.float32),
        )  # fmt: skip
        return cls(**{**found.__dict__, "distances": np.sort(found.distance(heldout))})

    def distance(self, states: Floats) -> Floats:
        """How much farther each state [texts, hidden_size] is from the nearest label than from all texts together."""
        along = (states - self.centre) @ self.axes
        to_labels = np.stack([(((along - mean) @ self.within) ** 2).sum(axis=1) for mean in self.means])
        found: Floats = to_labels.min(axis=0) - ((along @ self.whole) ** 2).sum(axis=1)
        return found

    def share(self, states: Floats) -> NDArray[np.float64]:
        """Share of held-out texts that are at least as unlike, the text itself counted: a conformal p-value."""
        below = np.searchsorted(self.distances, self.distance(states), side="left")
        return np.asarray((len(self.distances) - below + 1) / (len(self.distances) + 1))

    def save(self, directory: Path) -> None:
        from safetensors.numpy import save

        (directory / FOLDER).mkdir(exist_ok=True)
        write_atomic(directory / FOLDER / FILE, save({k: np.ascontiguousarray(v) for k, v in self.__dict__.items()}))

    @classmethod
    def load(cls, directory: Path) -> Familiarity:
        """Raises ConfigError where a classifier has none, DamagedError where it is not whole."""
        from safetensors.numpy import load_file

        path = directory / FOLDER / FILE
        if not path.is_file():
            raise ConfigError(
                f"{directory} does not know which texts are like those of its training",
                hint="a classifier of one label a text that `tutelage finetune classify` made does",
            )
        try:
            found = cls(**load_file(path))
            if found.axes.shape != (len(found.centre), len(found.within)):
                raise ValueError("axes and centre are not as many")
        except Exception as error:
            raise DamagedError(f"{path} is not whole: {error}") from None
        return found


def familiarity(lm: LanguageModel, directory: Path, texts: Sequence[str]) -> list[float]:
    """For each text the share of held-out texts that are at least as unlike the training texts: small for foreign ones.

    directory: where the classifier `lm` lies.
    """
    reference = Familiarity.load(directory)
    return reference.share(last_states(lm.model, lm.read(texts)).numpy()).tolist()


def _whitening(deviations: Floats) -> Floats:
    """[k, k] by which deviations [texts, k] get the identity as covariance, after some shrinking."""
    covariance = deviations.T @ deviations / max(1, len(deviations))
    even = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    values, vectors = np.linalg.eigh((1 - _SHRINK) * covariance + _SHRINK * even)
    return np.asarray(vectors / np.sqrt(np.maximum(values, 1e-12)), np.float32)
