"""A reusable buffer for matrices dequantised for a single product, one per thread and dtype."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

_THREAD = threading.local()


def room(count: int, dtype: torch.dtype) -> Tensor:
    """A CPU buffer of at least `count` values, valid until this thread's next call.

    New allocations would fragment the heap by more than the size of the weights, and the system clears new memory page
    by page, which takes longer than filling it.
    """
    rooms: dict[torch.dtype, Tensor] = _THREAD.__dict__.setdefault("rooms", {})
    if dtype not in rooms or len(rooms[dtype]) < count:
        with torch.inference_mode(False):  # an inference tensor could not be written to after generation
            rooms[dtype] = torch.empty(count, dtype=dtype)
    return rooms[dtype]
