"""Rows made ahead are the rows that are asked for, wherever the run is."""

from __future__ import annotations

import threading
from contextlib import closing

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tutelage.pretraining.objective import pack_documents
from tutelage.training.config import TrainingConfig
from tutelage.training.data.batch import Batch
from tutelage.training.data.loader import Loader
from tutelage.training.data.packing import Rows
from tutelage.training.data.position import DataState, microbatches
from tutelage.training.distributed.parallel import Layout

ROWS = pack_documents([[at % 50 + 1] * (3 + at % 20) for at in range(60)], 0, 32)
CONFIG = TrainingConfig(batch_rows=4, accumulation=2)


class Watched:
    """Rows that remember which threads made them; the `broken`-th time they cannot be read."""

    def __init__(self, rows: Rows, broken: int = 0) -> None:
        self.rows, self.broken, self.threads = rows, broken, list[str]()
        self.sources, self.length = rows.sources, rows.length

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, numbers: NDArray[np.int64]) -> Batch:
        self.threads.append(threading.current_thread().name)
        if len(self.threads) == self.broken:
            raise OSError("the shard is gone")
        return self.rows.batch(numbers)


def test_every_step_is_the_one_asked_for_also_after_a_jump() -> None:
    rows, before = Watched(ROWS), set(threading.enumerate())
    with closing(Loader(rows, CONFIG, Layout(), torch.device("cpu"))) as loader:  # type: ignore[arg-type]
        for sample in (0, 4, 8, 40, 44, 4, 8):
            made = list(loader.microbatches(DataState(3, sample)))
            wanted = list(microbatches(ROWS, DataState(3, sample), 4, 2))
            assert len(made) == 2
            for one, other in zip(made, wanted, strict=True):
                assert torch.equal(one.tokens, other.tokens) and torch.equal(one.weights, other.weights)
    # Only a step that is jumped to is made when it is asked for; in the end nobody goes on making rows.
    assert rows.threads.count(threading.current_thread().name) == 3 * 2
    assert set(threading.enumerate()) == before


def test_rows_that_cannot_be_read_ahead_are_an_error_when_they_are_needed() -> None:
    with closing(Loader(Watched(ROWS, broken=3), CONFIG, Layout(), torch.device("cpu"))) as loader:  # type: ignore[arg-type]
        assert len(list(loader.microbatches(DataState(3, 0)))) == 2
        with pytest.raises(OSError, match="the shard is gone"):
            list(loader.microbatches(DataState(3, 4)))
