"""Sampling: how the next token is chosen from logits. Pure functions on [rows, vocab_size]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from tutelage.store.errors import ConfigError


@dataclass(frozen=True)
class Sampling:
    """How to generate. Raises ConfigError for a value that makes no sense.

    max_tokens: at most so many new tokens. temperature 0 is greedy: the most likely token, and the filters and
    the seed play no part. top_k 0, top_p 1 and min_p 0 leave every token in. repetition_penalty above 1 makes
    tokens of the prompt and the answer less likely (it works with greedy too). stop: strings at which the
    answer ends, themselves not part of it. seed: row i of a call draws from (seed, i) alone.
    """

    max_tokens: int = 128
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "stop":
                continue
            kinds = (int, float) if field.type == "float" else (int,)
            if isinstance(value, bool) or not isinstance(value, kinds):
                raise ConfigError(f"sampling.{field.name} must be a number ({field.type}), got {value!r}")
        _check("max_tokens", self.max_tokens, self.max_tokens >= 1, "at least 1")
        _check("temperature", self.temperature, 0 <= self.temperature < math.inf, "0 (greedy) or above, and finite")
        _check("top_k", self.top_k, self.top_k >= 0, "0 (off) or above")
        _check("top_p", self.top_p, 0 < self.top_p <= 1, "above 0 and at most 1 (off)")
        _check("min_p", self.min_p, 0 <= self.min_p <= 1, "from 0 (off) to 1")
        _check(
            "repetition_penalty", self.repetition_penalty, 0 < self.repetition_penalty < math.inf,
            "above 0 and finite; 1 is off",
        )  # fmt: skip
        _check("seed", self.seed, 0 <= self.seed < 2**63, "from 0 to 2^63 - 1")
        # One string is a tuple of letters, which nobody means.
        if isinstance(self.stop, str) or not all(isinstance(text, str) and text for text in self.stop):
            raise ConfigError(f"sampling.stop must be a tuple of non-empty strings, got {self.stop!r}")
        object.__setattr__(self, "stop", tuple(self.stop))


def apply_repetition_penalty(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Positive logits of `seen` [rows, V] bool tokens divided by the penalty, negative ones multiplied.

    CTRL (Keskar et al. 2019, section 4.1), with the usual care for the sign.
    """
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Logits divided by a temperature above 0. Shifted to a maximum of 0 first, so that nothing overflows."""
    return (logits - logits.amax(-1, keepdim=True)) / temperature


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """-inf for all but the k highest; those equal to the k-th stay. k 0 or beyond V leaves all."""
    if not 0 < k < logits.shape[-1]:
        return logits
    least = logits.topk(k, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < least, -math.inf)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """-inf outside the nucleus: the fewest most likely tokens whose probabilities sum to at least p.

    Holtzman et al. 2020, section 3.1. The most likely token always stays.
    """
    if p >= 1:
        return logits
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities  # mass of the tokens that are likelier
    outside = (before >= p).scatter(-1, order, before >= p)
    outside.scatter_(-1, order[..., :1], False)
    return logits.masked_fill(outside, -math.inf)


def keep_min_p(logits: Tensor, p: float) -> Tensor:
    """-inf for tokens less likely than p times the most likely one. Nguyen et al. 2024."""
    if p <= 0:
        return logits
    least = logits.amax(-1, keepdim=True) + math.log(p)
    return logits.masked_fill(logits < least, -math.inf)


def filter_logits(logits: Tensor, sampling: Sampling) -> Tensor:
    """Temperature, top-k, top-p, min-p, in this order (that of transformers)."""
    logits = apply_temperature(logits, sampling.temperature)
    logits = keep_top_k(logits, sampling.top_k)
    logits = keep_top_p(logits, sampling.top_p)
    return keep_min_p(logits, sampling.min_p)


def row_generators(seed: int, rows: Sequence[int]) -> list[torch.Generator]:
    """One CPU generator per row number, seeded from (seed, row) and nothing else."""
    states = [np.random.SeedSequence([seed, row]).generate_state(1, np.uint64)[0] for row in rows]
    return [torch.Generator().manual_seed(int(state >> np.uint64(1))) for state in states]


def sample(
    logits: Tensor, sampling: Sampling, generators: Sequence[torch.Generator], seen: Tensor | None = None
) -> Tensor:
    """The next id of each row: [rows] int64 on the CPU, from logits [rows, V].

    Drawn by inverting the cumulative distribution in float64 with one uniform number per row from that row's
    generator, so that a row's draws depend on nothing but its generator and its own logits. `seen` [rows, V]
    bool is needed for the repetition penalty.
    """
    logits = logits.cpu()
    if sampling.repetition_penalty != 1.0 and seen is not None:
        logits = apply_repetition_penalty(logits, seen, sampling.repetition_penalty)
    if sampling.temperature == 0:
        return logits.argmax(-1)
    mass = filter_logits(logits.double(), sampling).softmax(-1).cumsum(-1)
    drawn = torch.cat([torch.rand(1, dtype=torch.float64, generator=generator) for generator in generators])
    # 1 - u lies in (0, 1]: the first index whose mass reaches it has a probability above 0, and one always does.
    wanted = (1 - drawn)[:, None] * mass[:, -1:]
    return torch.searchsorted(mass, wanted).squeeze(-1)


def _check(name: str, value: float, good: bool, what: str) -> None:
    if not good:
        raise ConfigError(f"sampling.{name} must be {what}, got {value!r}")
