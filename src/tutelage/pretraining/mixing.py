"""Shares of the sources of a corpus in training: weights, a temperature, and a limit on repetition.

Temperature: shares in proportion to size^(1 / T), as for languages (Conneau & Lample 2019, with alpha = 1 / T). Limit
on repetition: up to four passes, repeated text is almost as good as new text, far less beyond (Muennighoff et al.
2023); the excess of a source is distributed over the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tutelage.store.errors import ConfigError, nearest


@dataclass(frozen=True)
class Mix:
    """shares: of each source, with sum 1; 0 if left out. capped: sources limited to the maximum number of passes.
    exceeded: whether all sources together must be repeated more often than that."""

    shares: dict[str, float]
    capped: tuple[str, ...]
    exceeded: bool

    def passes(self, rows: Mapping[str, int], samples: float) -> dict[str, float]:
        """Epochs of each source in this many draws."""
        return {name: round(share * samples / rows[name], 3) for name, share in self.shares.items() if share}


def mix_of(
    rows: Mapping[str, int], weights: Mapping[str, float], temperature: float, max_epochs: float, samples: float
) -> Mix:
    """Shares of sources with `rows` rows each, when `samples` rows are drawn in total.

    weights: factors on the share by size: 2 doubles it, 0 leaves the source out. Raises ConfigError for a weight of an
    unknown source, and if no source is left.
    """
    for name in weights:
        if name not in rows:
            raise ConfigError(f"pretrain.mix.weights: the corpus has no source {name!r}", hint=nearest(name, rows))
    worth = {name: rows[name] ** (1 / temperature) * weights.get(name, 1.0) for name in sorted(rows)}
    if not any(worth.values()):
        raise ConfigError("pretrain.mix.weights leaves out every source", hint="set one of them above 0")
    shares = _normalised(worth)
    limits = {name: max_epochs * rows[name] / max(1.0, samples) for name in worth if worth[name]}
    if sum(limits.values()) <= 1:
        return Mix(_normalised({name: limits.get(name, 0.0) for name in worth}), tuple(limits), True)
    capped: list[str] = []
    while over := [name for name in limits if name not in capped and shares[name] > limits[name] * (1 + 1e-9)]:
        capped += over
        room = 1 - sum(limits[name] for name in capped)
        free = {name: value for name, value in worth.items() if name not in capped}
        left = _normalised(free)
        shares = {name: limits[name] if name in capped else room * left[name] for name in worth}
    return Mix(shares, tuple(sorted(capped)), False)


def _normalised(values: Mapping[str, float]) -> dict[str, float]:
    total = sum(values.values())
    return {name: value / total if total else 0.0 for name, value in values.items()}
