"""Cast the shared input of several products once instead of once per product."""

from __future__ import annotations

import torch
from torch import Tensor


def cast_once(x: Tensor) -> Tensor:
    """x in autocast's dtype, for several products; x itself without autocast.

    Autocast caches cast weights, but casts an activation again for every product and every gradient.
    """
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x
