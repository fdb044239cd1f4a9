"""The settings of generation: wrong values, and values that exclude each other, are named."""

from __future__ import annotations

import math

import pytest

from tutelage.inference.constraint import LONGEST, Constraint
from tutelage.inference.sampling import Sampling
from tutelage.store.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 0), ("max_tokens", 1.5), ("max_tokens", True), ("temperature", -0.1),
        ("temperature", math.nan), ("temperature", math.inf), ("temperature", "1"), ("top_k", -1), ("top_p", 0.0),
        ("top_p", 1.1), ("top_p", math.nan), ("min_p", -0.1), ("min_p", 2), ("repetition_penalty", 0.0),
        ("seed", -1), ("seed", 2**64), ("stop", "end"), ("stop", ("",)), ("stop", (3,)), ("dry_breakers", "\n"),
        ("presence_penalty", math.inf), ("frequency_penalty", math.nan), ("no_repeat_ngram", -1), ("typical_p", 0),
        ("top_n_sigma", -1), ("dry_multiplier", -1), ("dry_base", 0.5), ("dry_allowed_length", 0),
        ("xtc_probability", 1.1), ("xtc_threshold", 0), ("mirostat_tau", -1), ("mirostat_eta", 0),
        ("min_tokens", 129), ("top_logprobs", -1), ("ignore_eos", 1), ("stop_ids", (-1,)), ("stop_ids", ("a",)),
        ("logit_bias", {1: math.nan}), ("logit_bias", {-1: 1.0}), ("logit_bias", {"1": 1.0}), ("logit_bias", 3),
        ("constraint", "a+"),
    ],
)  # fmt: skip
def test_wrong_values_are_named(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"sampling\.{name} must be"):
        Sampling(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"typical_p": 0.5}, "typical_p has no effect at temperature 0"),
        ({"xtc_probability": 0.5}, "xtc_probability has no effect at temperature 0"),
        ({"mirostat_tau": 3.0}, "mirostat_tau has no effect at temperature 0"),
        ({"temperature": 1.0, "mirostat_tau": 3.0, "top_p": 0.9}, "top_p and sampling.mirostat_tau exclude"),
        ({"constraint": Constraint.regex("a"), "ignore_eos": True}, "ignore_eos and sampling.constraint exclude"),
        ({"constraint": Constraint.regex("a"), "min_tokens": 2}, "min_tokens and sampling.constraint exclude"),
    ],
)
def test_what_excludes_each_other_is_named(values: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Sampling(**values)  # type: ignore[arg-type]


def test_equal_settings_are_equal_and_hashable() -> None:
    one = Sampling(logit_bias={5: 1, 2: -1.5}, stop=["a"], stop_ids=[3, 1, 3])  # type: ignore[arg-type]
    other = Sampling(logit_bias=((2, -1.5), (5, 1.0)), stop=("a",), stop_ids=(1, 3))
    assert one == other and hash(one) == hash(other) and one.biases == ((2, -1.5), (5, 1.0))


@pytest.mark.parametrize(
    ("kind", "text", "named"),
    [
        ("json_schema", "{", "not valid JSON"), ("json_schema", "[]", "must be an object"), ("regex", " ", "empty"),
        ("choices", "[]", "non-empty list"), ("choices", '[""]', "non-empty"),
        ("grammar", "x" * (LONGEST + 1), "at most"),
    ],
)  # fmt: skip
def test_what_is_no_constraint_is_named(kind: str, text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Constraint(kind, text)  # type: ignore[arg-type]
