"""Validated sampling settings of one sequence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from tutelage.inference.constraint import Constraint
from tutelage.store.errors import ConfigError

BREAKERS = ("\n", ":", '"', "*")
"""Texts that interrupt a repetition for DRY; llama.cpp's defaults."""


@dataclass(frozen=True)
class Sampling:
    """Sampling settings. Raises ConfigError for invalid or conflicting values.

    Length: at most `max_tokens` new tokens, no stop token before `min_tokens`, none at all with `ignore_eos`. `stop`:
    strings that end the answer and are not part of it; `stop_ids`: ids that end it, in addition to the model's own.
    `seed`: row i of a call draws from (seed, i) only.

    Logit processors, applied in this order (formulas and sources in `samplers.py`): `logit_bias` (id -> number added,
    -inf bans), `repetition_penalty` (above 1: tokens of the prompt and the answer become less likely),
    `presence_penalty` and `frequency_penalty` (subtracted from tokens of the answer, once or per occurrence), DRY
    (`dry_multiplier`; 0 is off), banned stop tokens, `constraint`, and `no_repeat_ngram` (no n-gram of this length
    twice; 0 is off).

    Then the choice: `temperature` 0 is greedy decoding, without randomness. Otherwise the token is sampled after
    `top_n_sigma` (0 is off), the temperature, `top_k` (0), `top_p` (1), `min_p` (0), `typical_p` (1), and XTC
    (`xtc_probability` 0); the order is that of transformers, and llama.cpp's for filters that only it has. Mirostat 2
    (`mirostat_tau`, bits of surprisal per token; 0 is off) replaces all these filters.

    `top_logprobs`: number of top tokens to report per token. All log-probabilities are the model's own.
    """

    max_tokens: int = 128
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    no_repeat_ngram: int = 0
    typical_p: float = 1.0
    top_n_sigma: float = 0.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_breakers: tuple[str, ...] = BREAKERS
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    mirostat_tau: float = 0.0
    mirostat_eta: float = 0.1
    logit_bias: tuple[tuple[int, float], ...] | Mapping[int, float] = ()
    stop_ids: tuple[int, ...] = ()
    min_tokens: int = 0
    ignore_eos: bool = False
    top_logprobs: int = 0
    constraint: Constraint | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.type in _NUMBERS:
                value = getattr(self, field.name)
                kinds = (int, float) if field.type == "float" else (int,)
                if isinstance(value, bool) or not isinstance(value, kinds):
                    raise ConfigError(f"sampling.{field.name} must be a number ({field.type}), got {value!r}")
        for name, good, what in self._ranges():
            if not good:
                raise ConfigError(f"sampling.{name} must be {what}, got {getattr(self, name)!r}")
        for name in ("stop", "dry_breakers"):
            object.__setattr__(self, name, _strings(name, getattr(self, name)))
        object.__setattr__(self, "logit_bias", _biases(self.logit_bias))
        object.__setattr__(self, "stop_ids", _ids(self.stop_ids))
        if not isinstance(self.ignore_eos, bool):
            raise ConfigError(f"sampling.ignore_eos must be True or False, got {self.ignore_eos!r}")
        if self.constraint is not None and not isinstance(self.constraint, Constraint):
            raise ConfigError(f"sampling.constraint must be a Constraint, got {type(self.constraint).__name__}")
        self._check_together()

    @property
    def biases(self) -> tuple[tuple[int, float], ...]:
        """`logit_bias` as (id, bias) pairs, sorted by id."""
        return tuple(self.logit_bias.items() if isinstance(self.logit_bias, Mapping) else self.logit_bias)

    def _ranges(self) -> list[tuple[str, bool, str]]:
        def finite(value: float) -> bool:
            return math.isfinite(value)

        penalty = "above 0 and finite; 1 is off"
        return [
            ("max_tokens", self.max_tokens >= 1, "at least 1"),
            ("temperature", 0 <= self.temperature < math.inf, "0 (greedy) or above, and finite"),
            ("top_k", self.top_k >= 0, "0 (off) or above"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1 (off)"),
            ("min_p", 0 <= self.min_p <= 1, "from 0 (off) to 1"),
            ("repetition_penalty", 0 < self.repetition_penalty < math.inf, penalty),
            ("seed", 0 <= self.seed < 2**64, "from 0 to 2^64 - 1"),
            ("presence_penalty", finite(self.presence_penalty), "finite; 0 is off"),
            ("frequency_penalty", finite(self.frequency_penalty), "finite; 0 is off"),
            ("no_repeat_ngram", self.no_repeat_ngram >= 0, "0 (off) or above"),
            ("typical_p", 0 < self.typical_p <= 1, "above 0 and at most 1 (off)"),
            ("top_n_sigma", 0 <= self.top_n_sigma < math.inf, "0 (off) or above, and finite"),
            ("dry_multiplier", 0 <= self.dry_multiplier < math.inf, "0 (off) or above, and finite"),
            ("dry_base", 1 <= self.dry_base < math.inf, "at least 1 and finite"),
            ("dry_allowed_length", self.dry_allowed_length >= 1, "at least 1"),
            ("xtc_probability", 0 <= self.xtc_probability <= 1, "from 0 (off) to 1"),
            ("xtc_threshold", 0 < self.xtc_threshold <= 1, "above 0 and at most 1; above 0.5 it does nothing"),
            ("mirostat_tau", 0 <= self.mirostat_tau < math.inf, "0 (off) or above, and finite"),
            ("mirostat_eta", 0 < self.mirostat_eta <= 1, "above 0 and at most 1"),
            ("min_tokens", 0 <= self.min_tokens <= self.max_tokens, "from 0 to max_tokens"),
            ("top_logprobs", self.top_logprobs >= 0, "0 (off) or above"),
        ]

    def _check_together(self) -> None:
        # Filters that keep the likeliest token do not affect greedy decoding; these may remove it.
        filters = [name for name, off in _FILTERS.items() if getattr(self, name) != off]
        removing = [*filters, *(["mirostat_tau"] if self.mirostat_tau else [])]
        removing = [name for name in removing if name in ("typical_p", "xtc_probability", "mirostat_tau")]
        if self.temperature == 0 and removing:
            raise ConfigError(
                f"sampling.{removing[0]} has no effect at temperature 0, which always takes the likeliest token",
                hint="set a temperature above 0, e.g. 1",
            )
        if self.mirostat_tau and filters:
            raise ConfigError(f"sampling.{filters[0]} and sampling.mirostat_tau exclude each other: mirostat filters")
        if self.constraint is not None and (self.ignore_eos or self.min_tokens):
            name = "ignore_eos" if self.ignore_eos else "min_tokens"
            raise ConfigError(f"sampling.{name} and sampling.constraint exclude each other: the constraint says where "
                              "the answer ends")  # fmt: skip


def numbers() -> dict[str, type]:
    """The numeric settings with their type, int or float."""
    return {one.name: {"int": int, "float": float}[str(one.type)] for one in fields(Sampling) if one.type in _NUMBERS}


_NUMBERS = ("int", "float")
_FILTERS = {"top_k": 0, "top_p": 1, "min_p": 0, "typical_p": 1, "top_n_sigma": 0, "xtc_probability": 0}


def _strings(name: str, given: Any) -> tuple[str, ...]:
    # A single string would be read as a tuple of letters.
    if isinstance(given, str) or not all(isinstance(text, str) and text for text in given):
        raise ConfigError(f"sampling.{name} must be a tuple of non-empty strings, got {given!r}")
    return tuple(given)


def _ids(given: Iterable[Any]) -> tuple[int, ...]:
    ids = tuple(given)
    if not all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in ids):
        raise ConfigError(f"sampling.stop_ids must be a tuple of token ids, got {given!r}")
    return tuple(sorted(set(ids)))


def _biases(given: Any) -> tuple[tuple[int, float], ...]:
    """(id, bias) pairs sorted by id; the last bias of an id counts."""
    try:
        pairs = dict(given.items() if isinstance(given, Mapping) else given)
        whole = all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in pairs)
        biases = {one: float(bias) for one, bias in pairs.items()}
    except (TypeError, ValueError):
        whole, biases = False, {}
    if not whole or any(math.isnan(bias) or bias == math.inf for bias in biases.values()):
        raise ConfigError(
            f"sampling.logit_bias must be a mapping of token ids to finite numbers (or -inf, a ban), got {given!r}"
        )
    return tuple(sorted(biases.items()))
