"""Sampling: filters against their definitions, draws against the analytic distribution, wrong values."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.inference.sampling import (
    Sampling,
    apply_repetition_penalty,
    apply_temperature,
    filter_logits,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    row_generators,
    sample,
)
from tutelage.store.errors import ConfigError

LOGITS = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()


def kept(logits: torch.Tensor) -> list[int]:
    return logits[0].isfinite().nonzero().squeeze(-1).tolist()


@pytest.mark.parametrize(("k", "expected"), [(0, [0, 1, 2, 3]), (1, [0]), (2, [0, 1]), (9, [0, 1, 2, 3])])
def test_top_k(k: int, expected: list[int]) -> None:
    assert kept(keep_top_k(LOGITS, k)) == expected


@pytest.mark.parametrize(
    ("p", "expected"), [(1.0, [0, 1, 2, 3]), (0.95, [0, 1, 2, 3]), (0.85, [0, 1, 2]), (0.5, [0, 1]), (0.01, [0])]
)
def test_top_p_is_the_smallest_set_that_reaches_p(p: float, expected: list[int]) -> None:
    assert kept(keep_top_p(LOGITS, p)) == expected
    assert kept(keep_top_p(LOGITS.flip(-1), p)) == [3 - index for index in reversed(expected)]


@pytest.mark.parametrize(("p", "expected"), [(0.0, [0, 1, 2, 3]), (0.3, [0, 1, 2]), (0.6, [0, 1]), (1.0, [0])])
def test_min_p(p: float, expected: list[int]) -> None:
    assert kept(keep_min_p(LOGITS, p)) == expected


def test_repetition_penalty_lowers_seen_tokens_whatever_their_sign() -> None:
    logits = torch.tensor([[2.0, -2.0, 1.0]])
    seen = torch.tensor([[True, True, False]])
    assert apply_repetition_penalty(logits, seen, 2.0).tolist() == [[1.0, -4.0, 1.0]]


def test_a_tiny_temperature_does_not_overflow() -> None:
    probabilities = apply_temperature(torch.tensor([[1e4, 1e4 - 1.0]]), 1e-6).softmax(-1)
    assert probabilities.tolist() == [[1.0, 0.0]]


@given(
    st.lists(st.floats(-30, 30), min_size=2, max_size=30),
    st.floats(0.05, 5), st.integers(0, 40), st.floats(0.01, 1), st.floats(0, 1), st.integers(0, 2**40),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_what_is_drawn_was_left_in(
    values: list[float], temperature: float, k: int, top_p: float, min_p: float, seed: int
) -> None:
    logits = torch.tensor([values], dtype=torch.float64)
    sampling = Sampling(temperature=temperature, top_k=k, top_p=top_p, min_p=min_p, seed=seed)
    filtered = filter_logits(logits, sampling)
    assert filtered.isfinite().any() and filtered.argmax() == logits.argmax()
    drawn = int(sample(logits, sampling, row_generators(seed, [0])))
    assert filtered[0, drawn].isfinite()


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=1.0),
        Sampling(temperature=0.5),
        Sampling(temperature=2.0, top_k=5),
        Sampling(temperature=1.0, top_p=0.8),
        Sampling(temperature=1.3, min_p=0.2),
        Sampling(temperature=0.9, top_k=6, top_p=0.9, min_p=0.05, repetition_penalty=1.5),
    ],
    ids=str,
)
def test_draws_follow_the_analytic_distribution(sampling: Sampling) -> None:
    """Chi-square of 20000 draws against the probabilities worked out in plain Python."""
    draws, values = 20000, [1.5, 1.0, 0.7, 0.2, 0.0, -0.4, -1.0, -2.0]
    seen = torch.zeros(1, len(values), dtype=torch.bool)
    seen[0, 0] = seen[0, 5] = True
    expected = _analytic(values, {0, 5}, sampling)
    generators = row_generators(7, range(draws))
    ids = sample(torch.tensor([values]).expand(draws, -1), sampling, generators, seen.expand(draws, -1))
    counts = torch.bincount(ids, minlength=len(values)).tolist()
    assert all(count == 0 for count, p in zip(counts, expected, strict=True) if p == 0)
    cells = [(count, p * draws) for count, p in zip(counts, expected, strict=True) if p > 0]
    chi_square = sum((count - mean) ** 2 / mean for count, mean in cells)
    # 0.1 % points of chi-square with 1 to 7 degrees of freedom; the seed is fixed, so this cannot flicker.
    assert chi_square < [10.83, 13.82, 16.27, 18.47, 20.52, 22.46, 24.32][len(cells) - 2]


def _analytic(values: list[float], seen: set[int], sampling: Sampling) -> list[float]:
    penalty = sampling.repetition_penalty
    logits = [(x / penalty if x > 0 else x * penalty) if i in seen else x for i, x in enumerate(values)]
    weights = [math.exp(x / sampling.temperature) for x in logits]
    order = sorted(range(len(weights)), key=lambda i: -weights[i])
    if sampling.top_k:
        order = order[: sampling.top_k]
    total, mass, nucleus = sum(weights[i] for i in order), 0.0, []
    for i in order:
        if mass >= sampling.top_p:
            break
        nucleus.append(i)
        mass += weights[i] / total
    left = [i for i in nucleus if weights[i] >= sampling.min_p * weights[nucleus[0]]]
    total = sum(weights[i] for i in left)
    return [weights[i] / total if i in left else 0.0 for i in range(len(weights))]


def test_a_row_draws_from_its_seed_and_number_alone() -> None:
    logits = torch.randn(1, 50, generator=torch.Generator().manual_seed(0))
    sampling = Sampling(temperature=1.0)
    together = sample(logits.expand(40, -1), sampling, row_generators(3, range(40)))
    alone = [int(sample(logits, sampling, row_generators(3, [row]))) for row in range(40)]
    assert together.tolist() == alone
    assert len(set(alone)) > 5
    other = sample(logits.expand(40, -1), sampling, row_generators(4, range(40)))
    assert other.tolist() != alone


def test_greedy_takes_the_most_likely_and_honours_the_penalty() -> None:
    logits = torch.tensor([[1.0, 2.0, 1.9]])
    seen = torch.tensor([[False, True, False]])
    assert sample(logits, Sampling(), row_generators(0, [0])).tolist() == [1]
    assert sample(logits, Sampling(repetition_penalty=1.5), row_generators(0, [0]), seen).tolist() == [2]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 0), ("max_tokens", 1.5), ("max_tokens", True), ("temperature", -0.1),
        ("temperature", math.nan), ("temperature", math.inf), ("temperature", "1"), ("top_k", -1), ("top_p", 0.0),
        ("top_p", 1.1), ("top_p", math.nan), ("min_p", -0.1), ("min_p", 2), ("repetition_penalty", 0.0),
        ("seed", -1), ("seed", 2**63), ("stop", "end"), ("stop", ("",)), ("stop", (3,)),
    ],
)  # fmt: skip
def test_wrong_values_are_named(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"sampling\.{name} must be"):
        Sampling(**{name: value})  # type: ignore[arg-type]
