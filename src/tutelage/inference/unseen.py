"""What a frozen head says of its own training texts by fits that have not seen them: to weigh it against others by."""

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
        """None where a classifier has none: only frozen heads do. Raises DamagedError where it is not whole."""
        from safetensors.numpy import load_file

        path = directory / FILE
        if not path.is_file():
            return None
        try:
            found = cls(**load_file(path))
            if len(found.probabilities) != len(found.fold) or found.temperature.shape != (1,):
                raise ValueError("it holds another number of texts than of folds")
        except Exception as error:
            raise DamagedError(f"{path} is not whole: {error}") from None
        return found
