"""Out-of-distribution detection for classifiers: whether a text resembles the training texts."""

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
AXES = 64  # principal axes kept
_SHRINK = 0.1  # shrinkage of a covariance towards a multiple of the identity
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Familiarity:
    """Relative Mahalanobis distance of states (Ren et al. 2021), calibrated on held-out texts.

    `centre` [hidden_size], `axes` [hidden_size, k]: states are projected as (state - centre) @ axes. `means` [groups,
    k]: label means; `within` [k, k] whitens the scatter around them, `whole` [k, k] that around the centre. `distances`
    [texts]: of the held-out texts, ascending.
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
        _, groups = np.unique(groups, return_inverse=True)  # a rare label may have no text in the sample
        means = np.stack([along[groups == group].mean(axis=0) for group in range(groups.max() + 1)])
        found = cls(
            centre, axes, means, _whitening(along - means[groups]), _whitening(along), np.zeros(0, np.float32),
        )  # fmt: skip
        return cls(**{**found.__dict__, "distances": np.sort(found.distance(heldout))})

    def distance(self, states: Floats) -> Floats:
        """Distance of each state [texts, hidden_size] to the nearest label mean minus its distance to the overall
        mean."""
        along = (states - self.centre) @ self.axes
        to_labels = np.stack([(((along - mean) @ self.within) ** 2).sum(axis=1) for mean in self.means])
        found: Floats = to_labels.min(axis=0) - ((along @ self.whole) ** 2).sum(axis=1)
        return found

    def share(self, states: Floats) -> NDArray[np.float64]:
        """Conformal p-value: share of held-out texts at least as distant, counting the text itself."""
        below = np.searchsorted(self.distances, self.distance(states), side="left")
        return np.asarray((len(self.distances) - below + 1) / (len(self.distances) + 1))

    def save(self, directory: Path) -> None:
        from safetensors.numpy import save

        (directory / FOLDER).mkdir(exist_ok=True)
        write_atomic(directory / FOLDER / FILE, save({k: np.ascontiguousarray(v) for k, v in self.__dict__.items()}))

    @classmethod
    def load(cls, directory: Path) -> Familiarity:
        """Raises ConfigError if the classifier has none, DamagedError if the file is incomplete."""
        from safetensors.numpy import load_file

        path = directory / FOLDER / FILE
        if not path.is_file():
            raise ConfigError(
                f"{directory} has no data to tell whether a text resembles its training texts",
                hint="use a single-label classifier made by `tutelage finetune classify`",
            )
        try:
            found = cls(**load_file(path))
            if found.axes.shape != (len(found.centre), len(found.within)):
                raise ValueError("axes and centre differ in size")
        except Exception as error:
            raise DamagedError(f"{path} is incomplete: {error}") from None
        return found


def familiarity(lm: LanguageModel, directory: Path, texts: Sequence[str]) -> list[float]:
    """For each text, the share of held-out texts at least as distant from the training texts: small for outliers.

    directory: that of the classifier `lm`.
    """
    reference = Familiarity.load(directory)
    return reference.share(last_states(lm.model, lm.read(texts)).numpy()).tolist()


def _whitening(deviations: Floats) -> Floats:
    """Whitening matrix [k, k] of deviations [texts, k], with shrinkage."""
    covariance = deviations.T @ deviations / max(1, len(deviations))
    even = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    values, vectors = np.linalg.eigh((1 - _SHRINK) * covariance + _SHRINK * even)
    return np.asarray(vectors / np.sqrt(np.maximum(values, 1e-12)), np.float32)
