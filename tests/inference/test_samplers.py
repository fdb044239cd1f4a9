"""Samplers as pure functions: against their definitions, and against transformers where it has them."""

from __future__ import annotations

import math
from typing import Any

import naive_sampling as naive
import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tutelage.inference import samplers
from tutelage.inference.choosing import Chooser, TokenTable, processed
from tutelage.inference.samplers import (
    apply_count_penalties,
    apply_logit_bias,
    apply_repetition_penalty,
    apply_temperature,
    drop_top_choices,
    dry_penalties,
    filter_logits,
    keep_below_surprise,
    keep_min_p,
    keep_top_k,
    keep_top_n_sigma,
    keep_top_p,
    keep_typical,
    repeated_ngram_ids,
)
from tutelage.inference.sampling import Sampling

LOGITS = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()
NUMBERS = st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=24)
PASTS = st.lists(st.integers(0, 3), max_size=40)


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


def test_top_n_sigma_counts_deviations_from_the_highest() -> None:
    logits = torch.tensor([[4.0, 3.0, 0.0, -math.inf, 1.0]])
    sigma = float(np.std([4, 3, 0, 1]))
    assert kept(keep_top_n_sigma(logits, 1.01 / sigma)) == [0, 1]
    assert kept(keep_top_n_sigma(logits, 3.01 / sigma)) == [0, 1, 4]
    assert kept(keep_top_n_sigma(logits, 0)) == [0, 1, 2, 4]


def test_typical_may_leave_out_the_likeliest() -> None:
    # The entropy is 1.28 nats; surprises are 0.92, 1.20, 1.61 and 2.30.
    assert kept(keep_typical(LOGITS, 0.25)) == [1]
    assert kept(keep_typical(LOGITS, 0.45)) == [1, 2]
    assert kept(keep_typical(LOGITS, 0.75)) == [0, 1, 2]


def test_xtc_leaves_the_least_likely_of_the_likely() -> None:
    assert kept(drop_top_choices(LOGITS, 0.15)) == [2, 3]
    assert kept(drop_top_choices(LOGITS, 0.35)) == [0, 1, 2, 3]
    assert kept(drop_top_choices(LOGITS, 0.05)) == [3]
    assert kept(drop_top_choices(torch.zeros(1, 4), 0.25)) == [3]


def test_mirostat_leaves_out_what_surprises_more() -> None:
    assert kept(keep_below_surprise(LOGITS, torch.tensor([2.0]))) == [0, 1]  # 1.32, 1.74, 2.32 and 3.32 bits
    assert kept(keep_below_surprise(LOGITS, torch.tensor([-1.0]))) == [0]


def test_repetition_penalty_lowers_seen_tokens_whatever_their_sign() -> None:
    assert apply_repetition_penalty(torch.tensor([2.0, -2.0, 0.0]), 2.0).tolist() == [1.0, -4.0, 0.0]


def test_bias_and_counts_are_added_and_subtracted() -> None:
    logits = torch.zeros(2, 3)
    biased = apply_logit_bias(logits, torch.tensor([0, 2]), torch.tensor([1.5, -math.inf]))
    assert biased.tolist() == [[1.5, 0.0, -math.inf]] * 2 and not logits.any()
    counts = torch.tensor([[0, 1, 3], [0, 0, 0]])
    assert apply_count_penalties(logits, counts, 0.5, 0.25).tolist() == [[0, -0.75, -1.25], [0, 0, 0]]


def test_a_tiny_temperature_does_not_overflow() -> None:
    probabilities = apply_temperature(torch.tensor([[1e4, 1e4 - 1.0]]), 1e-6).softmax(-1)
    assert probabilities.tolist() == [[1.0, 0.0]]


@given(
    NUMBERS, st.floats(0.05, 5), st.integers(0, 30), st.floats(0.01, 1), st.floats(0, 1), st.floats(0.01, 1),
    st.floats(0, 3),
)  # fmt: skip
@settings(max_examples=400)
def test_filters_follow_their_definitions(
    values: list[float], temperature: float, k: int, top_p: float, min_p: float, typical: float, sigma: float
) -> None:
    ways: list[dict[str, Any]] = [{"top_k": k}, {"top_p": top_p}, {"min_p": min_p}, {"typical_p": typical}]
    ways += [{"top_n_sigma": sigma}, {"top_k": k, "top_p": top_p, "min_p": min_p, "typical_p": typical}]
    for way in ways:
        sampling = Sampling(temperature=temperature, **way)
        made = filter_logits(torch.tensor([values], dtype=torch.float64), sampling)[0].tolist()
        expected = naive.filtered(values, sampling)
        assert any(x > -math.inf for x in made)
        if made != pytest.approx(expected, abs=1e-9):
            # Only where a number lies on the edge, or two are equal but for rounding, may the last bit decide.
            nudged = [naive.filtered(values, Sampling(temperature=temperature, **_nudged(way, by))) for by in (-1, 1)]
            gaps = np.diff(np.sort([abs(x) for x in _distances(values, temperature)]))
            assume(nudged[0] == nudged[1] and (gaps > 1e-9).all())
        assert made == pytest.approx(expected, abs=1e-9), way


def _nudged(way: dict[str, Any], by: int) -> dict[str, Any]:
    return {name: x if name == "top_k" else min(max(x * (1 + by * 1e-9), 1e-12), 1) for name, x in way.items()}


def _distances(values: list[float], temperature: float) -> list[float]:
    p = naive.softmax([(x - max(values)) / temperature for x in values])
    entropy = -sum(q * math.log(q) for q in p if q)
    return [abs(-math.log(q) - entropy) if q else 1e9 for q in p]


@given(NUMBERS, st.floats(0.01, 0.5))
@example([0.0, 1e-45], 0.4)
def test_xtc_follows_its_definition(values: list[float], threshold: float) -> None:
    p = naive.softmax(values)
    assume(all(abs(q - threshold) > 1e-9 for q in p))
    made = drop_top_choices(torch.tensor([values], dtype=torch.float64), threshold)[0].tolist()
    assert made == naive.without_top_choices(values, threshold)


@given(PASTS, st.sets(st.integers(0, 3), max_size=2), st.integers(1, 5), st.floats(0.1, 3), st.floats(1, 3))
@settings(max_examples=300)
def test_dry_follows_its_definition(
    past: list[int], breakers: set[int], allowed: int, multiplier: float, base: float
) -> None:
    sampling = Sampling(dry_multiplier=multiplier, dry_base=base, dry_allowed_length=allowed)
    is_breaker = np.isin(np.arange(4), list(breakers))
    ids, penalties = dry_penalties(np.array(past, np.int64), is_breaker, multiplier, base, allowed)
    made = [0.0] * 4
    for token, penalty in zip(ids.tolist(), penalties.tolist(), strict=True):
        made[token] = penalty
    assert made == pytest.approx(naive.dry(past, breakers, sampling, 4))


def test_dry_of_a_long_loop_stays_finite_and_fast() -> None:
    ids, penalties = dry_penalties(np.zeros(20_000, np.int64), np.zeros(3, np.bool_), 1.0, 10.0, 2)
    assert ids.tolist() == [0] and 1e37 < penalties[0] < 3.4e38


@given(PASTS, st.integers(1, 5))
def test_ngrams_are_those_that_would_repeat(past: list[int], n: int) -> None:
    sampling = Sampling(no_repeat_ngram=n)
    expected = [i for i, x in enumerate(naive.processed([0.0] * 4, sampling, past)) if x == -math.inf]
    assert repeated_ngram_ids(np.array(past, np.int64), n).tolist() == expected


@pytest.mark.parity
@pytest.mark.parametrize("size", [5, 300])
def test_the_same_as_transformers(size: int) -> None:
    from transformers.generation import logits_process as theirs

    generator = torch.Generator().manual_seed(size)
    logits = torch.randn(16, size, generator=generator, dtype=torch.float64) * 4
    past = torch.randint(0, size, (16, 30), generator=generator)
    seen = torch.zeros(16, size, dtype=torch.bool).scatter_(1, past, True)
    pairs = [
        (theirs.TemperatureLogitsWarper(0.7), apply_temperature(logits, 0.7)),
        (theirs.TopKLogitsWarper(4), keep_top_k(logits, 4)),
        (theirs.TopPLogitsWarper(0.8), keep_top_p(logits, 0.8)),
        (theirs.MinPLogitsWarper(0.07), keep_min_p(logits, 0.07)),
        (theirs.TypicalLogitsWarper(0.6), keep_typical(logits, 0.6)),
        (
            theirs.RepetitionPenaltyLogitsProcessor(1.3),
            torch.where(seen, apply_repetition_penalty(logits, 1.3), logits),
        ),
    ]
    for processor, ours in pairs:
        expected = processor(past, logits.clone()).softmax(-1)
        torch.testing.assert_close(ours.softmax(-1), expected, msg=type(processor).__name__)
    for n in (1, 2, 3):
        expected = theirs.NoRepeatNGramLogitsProcessor(n)(past, logits.clone())
        for row in range(16):
            banned = repeated_ngram_ids(past[row].numpy(), n).tolist()
            assert banned == (expected[row] == -math.inf).nonzero().flatten().tolist()


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=40), st.sampled_from([0.07, 0.33, 0.61, 0.93, 0.999]))
def test_a_nucleus_beyond_what_is_sorted_first_is_the_same(values: list[int], p: float) -> None:
    """With many ties, of which the lower ids come first."""
    logits = torch.tensor([values, values[::-1], [0] * len(values)], dtype=torch.float64) * 1.1
    whole = [keep(logits, p) for keep in (keep_top_p, keep_typical)]
    for first in (1, 2, 5):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(samplers, "SORTED_FIRST", first)
            assert [keep(logits, p).tolist() for keep in (keep_top_p, keep_typical)] == [one.tolist() for one in whole]
    for row, made in zip(logits.tolist(), whole[0].tolist(), strict=True):
        assert made == pytest.approx([x + max(row) for x in naive.filtered(row, Sampling(temperature=1.0, top_p=p))])


TENTHS, FIFTHS, FALLING = [0.1, 0.2, 0.3, 0.4], [0.2] * 5, [0.4, 0.3, 0.2, 0.1]


@pytest.mark.parametrize(
    ("before", "way", "past", "after"),
    [
        (TENTHS, {"top_k": 3}, [], [0, 0.22222, 0.33333, 0.44444]),
        (TENTHS, {"top_p": 0.7}, [], [0, 0, 0.428571, 0.571429]),
        (TENTHS, {"top_p": 0.8}, [], [0, 0.22222, 0.33333, 0.44444]),
        (TENTHS, {"min_p": 0.24}, [], TENTHS),
        (TENTHS, {"min_p": 0.26}, [], [0, 2 / 9, 3 / 9, 4 / 9]),
        (TENTHS, {"min_p": 0.74}, [], [0, 0, 3 / 7, 4 / 7]),
        (TENTHS, {"min_p": 0.76}, [], [0, 0, 0, 1]),
        (TENTHS, {"top_n_sigma": 1.0}, [], [0, 0, 0.428571, 0.571429]),
        (TENTHS, {"top_n_sigma": 3.0}, [], TENTHS),
        ([0.97, 0.01, 0.01, 0.01], {"typical_p": 0.5}, [], [1, 0, 0, 0]),
        ([0.4, 0.2, 0.2, 0.2], {"typical_p": 0.5}, [], [0, 1 / 3, 1 / 3, 1 / 3]),
        (FALLING, {"xtc_probability": 1.0, "xtc_threshold": 0.09}, [], [0, 0, 0, 1]),
        (FALLING, {"xtc_probability": 1.0, "xtc_threshold": 0.19}, [], [0, 0, 2 / 3, 1 / 3]),
        (FALLING, {"xtc_probability": 1.0, "xtc_threshold": 0.29}, [], [0, 1 / 2, 1 / 3, 1 / 6]),
        (FALLING, {"xtc_probability": 1.0, "xtc_threshold": 0.39}, [], FALLING),
        (FIFTHS, {"repetition_penalty": 50.0}, [0, 1, 2, 0, 0], [0, 0, 0, 0.5, 0.5]),
        (FIFTHS, {"presence_penalty": 5.0, "frequency_penalty": 5.0}, [0], [0.000011, *[0.249997] * 4]),
        (FIFTHS, {"presence_penalty": 5.0, "frequency_penalty": 5.0}, [0, 1, 2, 0, 0],
         [0, 0.000023, 0.000023, 0.499977, 0.499977]),
        ([0.25] * 4, {"dry_multiplier": 1.0, "dry_base": 1.1}, [0, 1], [0.25] * 4),
        ([0.25] * 4, {"dry_multiplier": 1.0, "dry_base": 1.1}, [0, 1, 2, 0, 1],
         [0.296923, 0.296923, 0.109232, 0.296923]),
        (FIFTHS, {"dry_multiplier": 2.0, "dry_base": 1.1}, [0, 1, 2, 0, 1],
         [0.241818, 0.241818, 0.032727, 0.241818, 0.241818]),
        (FIFTHS, {"dry_multiplier": 1.0, "dry_base": 1.1, "dry_allowed_length": 4}, [0, 1, 2, 3, 4, 0, 1], FIFTHS),
    ],
    ids=str,
)  # fmt: skip
def test_the_figures_that_llama_cpp_expects_of_itself(
    before: list[float], way: dict[str, Any], past: list[int], after: list[float]
) -> None:
    """Inputs and results of its tests/test-sampling.cpp."""
    sampling = Sampling(temperature=1.0, dry_breakers=(), **way)
    chooser = Chooser(sampling, [], TokenTable(len(before)))
    for token in past:
        chooser.take(token)
    logits = processed(torch.tensor([before]).log(), [chooser]).double()
    logits = filter_logits(logits, sampling)
    if sampling.xtc_probability:
        logits = drop_top_choices(logits, sampling.xtc_threshold)
    assert logits.softmax(-1)[0].tolist() == pytest.approx(after, abs=1e-5)


def test_drawing_inverts_the_distribution() -> None:
    uniform = torch.tensor([0.0, 0.05, 0.15, 0.35, 0.75, 1 - 2**-53], dtype=torch.float64)
    drawn = samplers.draw(LOGITS.double().expand(6, -1), uniform)
    assert drawn.tolist() == [3, 3, 2, 1, 0, 0]
    alone = torch.tensor([[-math.inf, 0.0, -math.inf]], dtype=torch.float64).expand(6, -1)
    assert samplers.draw(alone, uniform).tolist() == [1] * 6
