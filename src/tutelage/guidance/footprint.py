"""Resident memory, measured: of a process that is ready to train, and what some work adds to it."""

from __future__ import annotations

from functools import cache

import torch

from tutelage.store.device import (
    keep_freed_memory,
    memory_mb,
    peak_memory_mb,
    reset_peak_memory,
    return_freed_memory,
)

MB = 2**20


class Rise:
    """How far resident memory rises from here on. Freed memory is given back before, and kept within as training keeps
    it (the gaps are a fifth of what a step takes); `returning`: given back at once, as with weights in 4 bits.
    """

    def __init__(self, device: torch.device, returning: bool = False) -> None:
        return_freed_memory()
        if not returning:
            keep_freed_memory()
        self._known = device.type == "cpu" and reset_peak_memory()
        self._before = memory_mb()

    def bytes(self) -> float | None:
        """None where it cannot be told: on a GPU, and where the system does not count it."""
        return float(max(0, peak_memory_mb() - self._before) * MB) if self._known else None


@cache
def ready_process() -> float:
    """Bytes of this process with everything loaded that a run loads, after the first steps of a tiny model: they bring
    the kernels and their buffers. Measured once, before anything else leaves something behind."""
    import tutelage.corpus.stage
    import tutelage.tokenizer.stage
    import tutelage.training.loop  # noqa: F401
    from tutelage.guidance.probe import training_cost
    from tutelage.model.families import FamilyConfig
    from tutelage.training.config import TrainingConfig

    tiny = FamilyConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_layers=1, num_heads=2, num_kv_heads=2,
                        max_position_embeddings=128)  # fmt: skip
    training_cost(tiny, 128, TrainingConfig(batch_rows=2), 1.0, seconds=0.0)
    return_freed_memory()
    return float(memory_mb() * MB)
