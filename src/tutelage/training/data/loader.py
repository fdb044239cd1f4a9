"""The rows of a step as batches on the device, prefetched during the previous step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from tutelage.training.config import TrainingConfig
from tutelage.training.data.batch import Batch
from tutelage.training.data.packing import Rows
from tutelage.training.data.position import DataState, microbatches, shares
from tutelage.training.distributed.parallel import Layout


class Loader:
    """Loads this rank's microbatches of each step. The order is known, so a thread prefetches the next step.

    It is stateless: for a position other than the prefetched one, it loads those rows instead.
    """

    def __init__(self, rows: Rows, config: TrainingConfig, layout: Layout, device: torch.device) -> None:
        self.rows, self.config, self.layout, self.device = rows, config, layout, device
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._ahead: tuple[int, Future[list[Batch]]] | None = None

    def microbatches(self, state: DataState) -> Iterator[Batch]:
        """The microbatches of the step at `state`, on the device."""
        ahead, self._ahead = self._ahead, None
        made = ahead[1].result() if ahead and ahead[0] == state.sample else self._make(state)
        following = DataState(state.seed, state.sample + self.config.batch_rows)
        self._ahead = following.sample, self._thread.submit(self._make, following)
        for batch in made:
            yield batch.to(self.device)

    def made(self, batch_of: Callable[[NDArray[np.int64]], Batch]) -> Iterator[Batch]:
        """The microbatches of a step whose rows the objective sampled from the current weights, without prefetching."""
        config, layout = self.config, self.layout
        for share in shares(config.batch_rows, config.accumulation, layout.data_rank, layout.data_size):
            yield batch_of(share).to(self.device)

    def _make(self, state: DataState) -> list[Batch]:
        config, layout = self.config, self.layout
        batches = microbatches(
            self.rows, state, config.batch_rows, config.accumulation, layout.data_rank, layout.data_size
        )
        return [batch.pinned() if self.device.type == "cuda" else batch for batch in batches]

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)
