"""Measure resident memory: of a process that is ready to train, and the increase by some work."""

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
    """The increase of peak resident memory since construction.

    Freed memory is returned to the system first, and then kept by the allocator as in training (fragmentation is a
    fifth of a step's memory); `returning`: returned immediately, as with 4-bit weights.
    """

    def __init__(self, device: torch.device, returning: bool = False) -> None:
        return_freed_memory()
        if not returning:
            keep_freed_memory()
        self._known = device.type == "cpu" and reset_peak_memory()
        self._before = memory_mb()

    def bytes(self) -> float | None:
        """The increase; None if unknown (on a GPU, or without support of the system)."""
        return float(max(0, peak_memory_mb() - self._before) * MB) if self._known else None


@cache
def ready_process() -> float:
    """Bytes of this process with all modules of a run loaded, after the first steps of a tiny model, which load kernels
    and their buffers. Measured once, before other work."""
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
