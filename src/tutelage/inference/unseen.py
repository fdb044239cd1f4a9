"""Out-of-fold predictions of a frozen head on its training texts, for fitting ensemble weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tutelage.store.errors import DamagedError
from tutelage.store.files import write_atomic

FILE = "data/unseen.safetensors"


@dataclass(frozen=True)
class Unseen:
    """`probabilities` [texts, labels] of the texts of `data/train.jsonl`, before the head was calibrated; `fold`
    [texts]: which fit has not seen the text. `temperature` [1]: by which the head's scores were divided afterwards."""

    probabilities: NDArray[np.float32]
    fold: NDArray[np.int64]
    temperature: NDArray[np.float64]

    def save(self, directory: Path) -> None:
        from safetensors.numpy import save

        write_atomic(directory / FILE, save({k: np.ascontiguousarray(v) for k, v in self.__dict__.items()}))

    @classmethod
    def load(cls, directory: Path) -> Unseen | None:
        """Load it; None if there is none (only frozen heads have one). Raises DamagedError for an incomplete file."""
        from safetensors.numpy import load_file

        path = directory / FILE
        if not path.is_file():
            return None
        try:
            found = cls(**load_file(path))
            if len(found.probabilities) != len(found.fold) or found.temperature.shape != (1,):
                raise ValueError("it holds another number of texts than of folds")
        except Exception as error:
            raise DamagedError(f"{path} is incomplete: {error}") from None
        return found
