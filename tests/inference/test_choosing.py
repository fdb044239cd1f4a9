"""Choosing: draws against the analytic distribution, sequences apart from each other, logits that are not finite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import naive_sampling as naive
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from tutelage.inference.choosing import Chooser, Chosen, TokenTable, choose
from tutelage.inference.decoding import generate_ids
from tutelage.inference.language_model import LanguageModel
from tutelage.inference.sampling import Sampling
from tutelage.store.errors import ConfigError, InputError

VALUES = [1.5, 1.0, 0.7, 0.2, 0.0, -0.4, -1.0, -2.0]
TABLE = TokenTable(len(VALUES), stop_ids=[7])
PROMPT, ANSWER = [0, 5, 3], [1, 2, 1, 0, 5]


def begun(sampling: Sampling, rows: Sequence[int], table: TokenTable = TABLE) -> list[Chooser]:
    """Sequences that have read PROMPT and written ANSWER."""
    made = [Chooser(sampling, PROMPT, table, row) for row in rows]
    for chooser in made:
        for token in ANSWER:
            chooser.take(token)
    return made


def drawn(sampling: Sampling, draws: int, table: TokenTable = TABLE) -> list[int]:
    logits = torch.tensor([VALUES]).expand(draws, -1)
    return [chosen.id for chosen in choose(logits, begun(sampling, range(draws), table))]


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 1.0},
        {"temperature": 0.5},
        {"temperature": 2.0, "top_k": 5},
        {"top_p": 0.8},
        {"temperature": 1.3, "min_p": 0.2},
        {"typical_p": 0.7},
        {"typical_p": 0.3, "temperature": 0.6},
        {"top_n_sigma": 1.0, "temperature": 1.5},
        {"repetition_penalty": 1.5},
        {"repetition_penalty": 0.7},
        {"presence_penalty": 0.8},
        {"frequency_penalty": 0.6},
        {"presence_penalty": -0.5, "frequency_penalty": 0.3},
        {"logit_bias": {2: 1.5, 0: -math.inf, 6: -1}},
        {"no_repeat_ngram": 2},
        {"no_repeat_ngram": 1, "temperature": 1.4},
        {"dry_multiplier": 0.8, "dry_allowed_length": 1, "dry_breakers": ()},
        {"dry_multiplier": 1.5, "dry_allowed_length": 2, "dry_base": 2.0, "dry_breakers": ()},
        {"xtc_probability": 0.5, "xtc_threshold": 0.1},
        {"xtc_probability": 1.0, "xtc_threshold": 0.12},
        {"mirostat_tau": 1.1},
        {"mirostat_tau": 5.0, "temperature": 0.8},
        {"min_tokens": 6},
        {"ignore_eos": True},
        {"temperature": 0.9, "top_k": 6, "top_p": 0.9, "min_p": 0.05, "typical_p": 0.95, "repetition_penalty": 1.2,
         "frequency_penalty": 0.1, "xtc_probability": 0.3, "logit_bias": {4: 0.5}, "top_n_sigma": 2.0},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("draws", [4000, pytest.param(20000, marks=pytest.mark.slow)])
def test_draws_follow_the_analytic_distribution(settings: dict[str, Any], draws: int) -> None:
    """Chi-square of many draws against the probabilities worked out in plain Python; the seed is fixed."""
    sampling = Sampling(**{"temperature": 1.0, "seed": 7, **settings})
    values = [*VALUES[:-1], -math.inf if settings.keys() & {"min_tokens", "ignore_eos"} else VALUES[-1]]
    expected = naive.probabilities(values, sampling, PROMPT, ANSWER)
    counts = torch.bincount(torch.tensor(drawn(sampling, draws)), minlength=len(VALUES)).tolist()
    assert all(count == 0 for count, p in zip(counts, expected, strict=True) if p == 0)
    cells = [(count, p * draws) for count, p in zip(counts, expected, strict=True) if p > 0]
    if len(cells) > 1:
        assert chisquare([count for count, _ in cells], [mean for _, mean in cells]).pvalue > 1e-3


def test_a_constraint_renormalises_over_what_is_allowed(lm: LanguageModel) -> None:
    pytest.importorskip("llguidance")
    from tutelage.inference.constraint import Constraint

    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(1, lm.config.vocab_size, generator=generator)
    sampling = Sampling(temperature=1.0, constraint=Constraint.regex("[a-f]"), seed=3)
    rows = [Chooser(sampling, [5], lm.table, row) for row in range(4000)]
    ids = [chosen.id for chosen in choose(logits.expand(len(rows), -1), rows)]
    allowed = lm.tokenizer.encode("abcdef")
    assert set(ids) == set(allowed)
    expected = logits[0, allowed].double().softmax(-1) * len(ids)
    assert chisquare([ids.count(one) for one in allowed], expected.numpy()).pvalue > 1e-3


def test_mirostat_holds_the_surprise_it_is_asked_for() -> None:
    """Basu et al. 2021, algorithm 2, step by step; and over many tokens the mean surprise is the one asked for."""
    logits = -torch.arange(1, 1001).double().log()[None] * 1.2
    p = logits.softmax(-1)[0]
    for tau in (2.0, 4.0):
        chooser = Chooser(Sampling(temperature=1.0, mirostat_tau=tau, seed=1), [0], TokenTable(1000))
        surprises, mu = [], 2 * tau
        for _ in range(1000):
            token = choose(logits.float(), [chooser])[0].id
            left = p[(-p.log2() <= mu) | (p == p.max())]
            surprises.append(-math.log2(p[token] / left.sum()))
            mu -= 0.1 * (surprises[-1] - tau)
            assert p[token] >= left.min() and chooser.mu == pytest.approx(mu, abs=1e-4)
        assert sum(surprises) / 1000 == pytest.approx(tau, abs=0.1)


MIXED = [
    Sampling(),
    Sampling(top_p=0.5, top_k=3),
    Sampling(top_logprobs=3),
    Sampling(top_logprobs=5, temperature=0.7),
    Sampling(temperature=1.0, seed=4),
    Sampling(temperature=1.0, seed=5),
    Sampling(temperature=1.0, top_p=0.7, min_tokens=4, stop_ids=(2,)),
    Sampling(repetition_penalty=1.4),
    Sampling(presence_penalty=0.5, frequency_penalty=0.2),
    Sampling(no_repeat_ngram=2),
    Sampling(temperature=1.0, dry_multiplier=0.8, dry_breakers=()),
    Sampling(temperature=1.2, xtc_probability=0.5),
    Sampling(temperature=1.0, mirostat_tau=3.0),
    Sampling(temperature=1.0, mirostat_tau=2.0),
    Sampling(temperature=1.0, typical_p=0.5, top_n_sigma=1.5, logit_bias={3: 2.0}),
    Sampling(ignore_eos=True),
]


def test_a_sequence_depends_on_its_own_logits_and_past_alone() -> None:
    """Bit for bit, with batch mates that come, go and change places; rows that do not end at a vector's."""
    size, steps = 5003, 12
    table = TokenTable(size, stop_ids=[1])
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(len(MIXED), steps, size, generator=generator).round(decimals=1) * 2

    def alone(number: int) -> list[Chosen]:
        chooser = Chooser(MIXED[number], [number, 7], table, number)
        return [choose(logits[number, step][None], [chooser])[0] for step in range(steps)]

    choosers = [Chooser(sampling, [number, 7], table, number) for number, sampling in enumerate(MIXED)]
    together: list[list[Chosen]] = [[] for _ in MIXED]
    for step in range(steps):
        order = torch.randperm(len(MIXED), generator=generator).tolist()
        for part in (order[: step + 1], order[step + 1 :]):
            if part:
                for number, chosen in zip(part, choose(logits[part, step], [choosers[n] for n in part]), strict=True):
                    together[number].append(chosen)
    assert together == [alone(number) for number in range(len(MIXED))]
    assert together[2][0].top[0] == together[2][0][:2] and len(together[2][0].top) == 3


GOLDEN = {
    Sampling(max_tokens=10): [
        [246, 10, 92, 108, 129, 90, 110, 228, 153, 66], [141, 17, 109, 202, 103, 193, 185, 110, 168, 38],
        [151, 237, 193, 151, 237, 193, 151, 83, 228, 193],
    ],
    Sampling(max_tokens=10, temperature=1.0, top_p=0.95, seed=11): [
        [33, 10, 108, 128, 7, 204, 73, 190, 18, 101], [254, 135, 36, 36, 38, 250, 139, 188, 109, 63],
        [143, 151, 135, 151, 74, 150, 93, 151, 237, 71],
    ],
    Sampling(max_tokens=10, temperature=0.8, top_k=20, min_p=0.02, repetition_penalty=1.3, seed=5): [
        [246, 10, 255, 4, 18, 212, 251, 172, 190, 174], [145, 109, 141, 185, 254, 100, 128, 68, 174, 181],
        [151, 237, 193, 55, 250, 218, 71, 237, 228, 237],
    ],
    Sampling(max_tokens=10, repetition_penalty=1.5): [
        [246, 10, 92, 108, 129, 90, 110, 228, 153, 66], [141, 17, 109, 202, 103, 193, 185, 110, 168, 38],
        [151, 237, 193, 55, 74, 150, 97, 218, 13, 180],
    ],
}  # fmt: skip


@pytest.mark.parametrize("sampling", GOLDEN, ids=str)
def test_a_seed_gives_what_it_always_gave(lm: LanguageModel, sampling: Sampling) -> None:
    outputs = generate_ids(lm.model, [[5], [0, 7, 9, 30], [100] * 10], sampling, [])
    assert [output.ids for output in outputs] == GOLDEN[sampling]


def test_a_row_draws_from_its_seed_and_number_alone() -> None:
    together = drawn(Sampling(temperature=1.0, seed=3), 40)
    alone = [choose(torch.tensor([VALUES]), begun(Sampling(temperature=1.0, seed=3), [n]))[0].id for n in range(40)]
    assert together == alone and len(set(alone)) > 3
    assert drawn(Sampling(temperature=1.0, seed=4), 40) != alone


@given(
    st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=30), st.floats(0.05, 5), st.integers(0, 40),
    st.floats(0.01, 1), st.floats(0, 1), st.integers(0, 2**40),
)  # fmt: skip
@settings(max_examples=150)
def test_what_is_drawn_was_left_in(
    values: list[float], temperature: float, k: int, top_p: float, min_p: float, seed: int
) -> None:
    sampling = Sampling(temperature=temperature, top_k=k, top_p=top_p, min_p=min_p, seed=seed)
    (chosen,) = choose(torch.tensor([values]), [Chooser(sampling, [0], TokenTable(len(values)))])
    left = naive.filtered(values, Sampling(temperature=temperature, top_k=k))  # the edge of the others may be rounded
    assert left[chosen.id] > -math.inf


def test_the_prompt_counts_for_repetition_but_not_for_presence() -> None:
    logits = torch.tensor([[1.0, 2.0, 1.9, 0, 0, 0, 0, 0]])
    for sampling, expected in (
        (Sampling(), 1),
        (Sampling(repetition_penalty=1.5), 2),
        (Sampling(presence_penalty=1.0, frequency_penalty=1.0), 1),
        (Sampling(no_repeat_ngram=1), 2),
    ):
        assert choose(logits, [Chooser(sampling, [1], TABLE)])[0].id == expected
    chooser = Chooser(Sampling(presence_penalty=0.2), [5], TABLE)
    assert [choose(logits, [chooser])[0].id for _ in range(3)] == [1, 2, 1]


def test_a_long_answer_is_remembered_whole() -> None:
    chooser = Chooser(Sampling(no_repeat_ngram=1), [7], TokenTable(300))
    ids = [choose(torch.zeros(1, 300), [chooser])[0].id for _ in range(299)]
    assert sorted([7, *ids]) == list(range(300)) and chooser.history.tolist() == [7, *ids]


def test_a_repetition_stays_where_nothing_else_is_left() -> None:
    chooser = Chooser(Sampling(no_repeat_ngram=1), [0, 1], TokenTable(2))
    assert choose(torch.tensor([[0.0, 1.0]]), [chooser])[0].id == 1


def test_stop_tokens_wait_for_the_least_number_of_tokens() -> None:
    logits = torch.tensor([[0.0, 1.0, 5.0, 0, 0, 0, 0, 9.0]])
    chooser = Chooser(Sampling(min_tokens=2, stop_ids=(2,)), [0], TABLE)
    assert [choose(logits, [chooser])[0].id for _ in range(3)] == [1, 1, 7]
    never = Chooser(Sampling(ignore_eos=True), [0], TABLE)
    assert [choose(logits, [never])[0].id for _ in range(3)] == [2, 2, 2]


@pytest.mark.parametrize("sampling", MIXED, ids=str)
def test_one_token_left_is_chosen_whatever_the_settings(sampling: Sampling) -> None:
    logits = torch.full((1, 8), -math.inf)
    logits[0, 5] = -3.0
    chosen = choose(logits, [Chooser(sampling, [5, 5, 5], TABLE)])[0]
    assert chosen.id == 5 and chosen.logprob == 0.0


def test_of_equal_tokens_greedy_takes_the_first_and_drawing_takes_all_alike() -> None:
    logits = torch.zeros(4000, 8)
    assert {one.id for one in choose(logits[:3], begun(Sampling(), range(3)))} == {0}
    ids = [one.id for one in choose(logits, begun(Sampling(temperature=1e-6, top_k=2), range(4000)))]
    assert chisquare(torch.bincount(torch.tensor(ids)).numpy()).pvalue > 1e-3 and set(ids) == set(range(8))


def test_logprobs_are_the_models_own_and_the_likeliest_are_reported() -> None:
    sampling = Sampling(temperature=2.0, top_k=4, repetition_penalty=1.5, top_logprobs=20)
    (chosen,) = choose(torch.tensor([VALUES]), begun(sampling, [0]))
    own = torch.tensor(VALUES).log_softmax(-1).tolist()
    assert chosen.logprob == pytest.approx(own[chosen.id])
    assert [token for token, _ in chosen.top] == list(range(8))  # no more than there are
    assert [logprob for _, logprob in chosen.top] == pytest.approx(own)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_are_named(bad: float, temperature: float) -> None:
    logits = torch.zeros(3, 8)
    logits[1, 4] = bad
    kind = "NaN" if math.isnan(bad) else "inf"
    with pytest.raises(InputError, match=f"logits of row 1 are not finite: the model gives {kind}.*float32"):
        choose(logits, begun(Sampling(temperature=temperature), range(3)))


def test_a_row_without_any_token_is_named() -> None:
    with pytest.raises(InputError, match=r"row 0 .*nothing but -inf"):
        choose(torch.full((1, 8), -math.inf), begun(Sampling(), [0]))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"repetition_penalty": 1e-38}, "repetition_penalty=1e-38: they overflow"),
        ({"presence_penalty": -1e39}, "presence_penalty=-1e\\+39: they overflow"),
        ({"logit_bias": dict.fromkeys(range(8), -math.inf)}, "logit_bias: every token is ruled out"),
    ],
)
def test_settings_that_spoil_the_logits_are_named(temperature: float, settings: dict[str, Any], named: str) -> None:
    choosers = [*begun(Sampling(), [0]), *begun(Sampling(temperature=temperature, **settings), [1])]
    with pytest.raises(InputError, match=f"row 1 are not finite after {named}"):
        choose(torch.tensor([VALUES]).expand(2, -1) * 10, choosers)


def test_ids_beyond_the_vocabulary_are_named() -> None:
    with pytest.raises(ConfigError, match="logit_bias names id 8, the ids go from 0 to 7"):
        Chooser(Sampling(logit_bias={8: 1.0}), [0], TABLE)
    with pytest.raises(ConfigError, match="stop_ids names id 9"):
        Chooser(Sampling(stop_ids=(9,)), [0], TABLE)


def test_breakers_are_tokens_that_contain_them(lm: LanguageModel) -> None:
    found = lm.table.breakers(("\n", "*"))
    assert found.nonzero()[0].tolist() == sorted(lm.tokenizer.encode("\n*"))
    with pytest.raises(ConfigError, match="no token contains 'User'"):
        lm.table.breakers(("User",))
    with pytest.raises(ConfigError, match="dry_breakers requires the model's tokenizer"):
        Chooser(Sampling(dry_multiplier=1.0), [0], TABLE)
