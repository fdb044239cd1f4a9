from __future__ import annotations

import pytest
import torch

from tutelage.evaluation.bench.families import Family, _packed, family_logprobs
from tutelage.evaluation.bench.prefixes import joined
from tutelage.inference.language_model import LanguageModel
from tutelage.inference.scoring import Window, target_logprobs
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig


def alone(model: DecoderLM, families: list[Family]) -> list[list[tuple[float, bool]]]:
    found = []
    for family in families:
        windows = [Window([*family.context, *after], len(after)) for after in family.continuations]
        found.append([(float(p.double().sum()), bool(g.all())) for p, g in target_logprobs(model, windows)])
    return found


FAMILIES = [
    Family([5, 9, 30, 31], [[7], [8], [9]]),
    Family([5, 9], [[7, 8, 9], [7, 8, 9, 10], [11], [7, 8, 12]]),
    Family([40], [[20] * 17, [21, 22]]),
    Family(list(range(10, 50)), [[3, 4]]),
]


def test_branches_score_as_if_each_stood_alone(lm: LanguageModel):
    for family, other in zip(family_logprobs(lm.model, FAMILIES), alone(lm.model, FAMILIES), strict=True):
        assert [greedy for _, greedy in family] == [greedy for _, greedy in other]
        assert [value for value, _ in family] == pytest.approx([value for value, _ in other], abs=2e-4)


@pytest.mark.parametrize("more", [{"positions": "learned"}, {"sliding_window": 6}, {"positions": "alibi"}])
def test_other_positions_and_windows_too(lm: LanguageModel, more: dict[str, object]):
    config = FamilyConfig.parse({**lm.config.plain(), "family": "custom", **more})
    model = DecoderLM(config, seed=2)
    got = [value for family in family_logprobs(model, FAMILIES) for value, _ in family]
    assert got == pytest.approx([value for family in alone(model, FAMILIES) for value, _ in family], abs=2e-4)


def test_a_context_is_read_once(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch):
    seen = []
    read = DecoderLM.hidden

    def watched(self: DecoderLM, tokens: torch.Tensor, *more: object, **named: object) -> torch.Tensor:
        seen.append(tokens)
        return read(self, tokens, *more, **named)

    monkeypatch.setattr(DecoderLM, "hidden", watched)
    family_logprobs(lm.model, [Family(list(range(20)), [[1], [2], [3, 4]])])
    assert [tuple(tokens.shape) for tokens in seen] == [(1, 21)]  # 20, and the one id of [3, 4] that is read


def test_families_are_packed_without_padding(lm: LanguageModel):
    lengths = [200, 100, 60, 56, 50, 40, 6]
    groups = _packed(lengths, 256)
    assert sorted(index for group in groups for index in group) == list(range(7))
    assert [sum(lengths[index] for index in group) for group in groups] == [256, 256]
    assert _packed([300, 10], 256) == [[0], [1]]
    assert _packed([], 256) == []


def test_the_most_likely_continuation_is_greedy(lm: LanguageModel):
    ids = [5, 9, 30]
    best = int(lm.logits(torch.tensor([ids]))[0, -1].argmax())
    (first, second), = family_logprobs(lm.model, [Family(ids, [[best], [(best + 1) % 200]])])  # fmt: skip
    assert first[1]
    assert not second[1]
    assert first[0] > second[0]


def test_questions_behind_the_same_examples_are_read_behind_them_once(lm: LanguageModel):
    examples = list(range(10, 50))
    families = [Family([*examples, 60 + n, 70], [[5], [6], [7]] if n % 2 else [[5, 6], [7, 8]]) for n in range(5)]
    families.append(Family([99, 98, 97], [[5, 6], [7]]))
    rows = joined(families)
    assert len(rows) == 2
    assert sorted(origin for row in rows for origin in row.origin) == [
        (number, at) for number, family in enumerate(families) for at in range(len(family.continuations))
    ]
    expected = alone(lm.model, families)
    for row, scores in zip(rows, family_logprobs(lm.model, [row.family for row in rows]), strict=True):
        for (number, at), (logprob, greedy) in zip(row.origin, scores, strict=True):
            assert logprob == pytest.approx(expected[number][at][0], abs=2e-4)
            assert greedy == expected[number][at][1]


def test_what_shares_little_is_left_apart():
    families = [Family([1, 2, 3, 4, n], [[5, 6, 7], [8, 9, 10], [11, 12, 13]]) for n in range(4)]
    assert [row.family for row in joined(families)] == families


def test_a_context_that_is_the_beginning_of_another():
    examples = list(range(40))
    rows = joined([Family(examples, [[5]]), Family([*examples, 41], [[5], [6]])])
    assert len(rows) == 1
    assert rows[0].family.context == examples[:-1]
    assert rows[0].family.continuations == [[39, 5], [39, 41, 5], [39, 41, 6]]
