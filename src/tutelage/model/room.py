"""Memory that matrices made dense for one product take turns in, a piece for each thread and dtype."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

_THREAD = threading.local()


def room(count: int, dtype: torch.dtype) -> Tensor:
    """At least `count` numbers on the CPU, good until this thread asks again.

    New memory for each would lie between what is kept, and its gaps would cost more than the weights; and the
    system clears new memory page by page, which takes longer than to fill it.
    """
    rooms: dict[torch.dtype, Tensor] = _THREAD.__dict__.setdefault("rooms", {})
    if dtype not in rooms or len(rooms[dtype]) < count:
        with torch.inference_mode(False):  # else what comes after generating could not write into it
            rooms[dtype] = torch.empty(count, dtype=dtype)
    return rooms[dtype]
