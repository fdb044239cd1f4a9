"""What autocast would do to the input of each product, done once."""

from __future__ import annotations

import torch
from torch import Tensor


def cast_once(x: Tensor) -> Tensor:
    """x in the dtype in which autocast multiplies, for several products of it; x itself where there is no autocast.

    Autocast remembers what it made of a weight, but casts an activation again for every product, and so back again
    for every gradient.
    """
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x
