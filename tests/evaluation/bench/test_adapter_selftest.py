from __future__ import annotations

import math

import pytest

from tutelage.evaluation.bench.cache import AnswerCache
from tutelage.evaluation.bench.ours import OurModel
from tutelage.evaluation.bench.protocol import Ask, Likelihood, Pair, Roll, Written
from tutelage.evaluation.bench.selftest import refuse_wrong, require_right, self_test
from tutelage.inference.language_model import LanguageModel
from tutelage.store.errors import ConfigError


def changed(one: Likelihood, by: float) -> Likelihood:
    return Likelihood(one.logprob + by, one.tokens, one.greedy, one.cut)


class DoubledStart(OurModel):
    def encode(self, text: str) -> list[int]:
        return [0, 0, *super().encode(text)]


class LosesWords(OurModel):
    def decode(self, ids: list[int]) -> str:
        return super().decode(ids)[:10]


class DependsOnTheBatch(OurModel):
    def score(self, pairs: list[Pair]) -> list[Likelihood]:
        return [changed(one, -0.1 * len(pairs)) for one in super().score(pairs)]


class CountsPadding(OurModel):
    def score(self, pairs: list[Pair]) -> list[Likelihood]:
        longest = max(len(pair.context + pair.continuation) for pair in pairs)
        missing = [longest - len(pair.context + pair.continuation) for pair in pairs]
        return [changed(one, -0.05 * gap) for one, gap in zip(super().score(pairs), missing, strict=True)]


class IgnoresTheContext(OurModel):
    def score(self, pairs: list[Pair]) -> list[Likelihood]:
        return super().score([Pair("", pair.continuation) for pair in pairs])


class GivesLogits(OurModel):
    def score(self, pairs: list[Pair]) -> list[Likelihood]:
        return [changed(one, 12.0) for one in super().score(pairs)]


class PerToken(OurModel):
    """The mean instead of the sum."""

    def score(self, pairs: list[Pair]) -> list[Likelihood]:
        return [Likelihood(one.logprob / one.tokens, one.tokens, one.greedy, one.cut) for one in super().score(pairs)]


class Flattened(OurModel):
    """Probabilities at a temperature: each token still well below 1, all together above."""

    def score(self, pairs: list[Pair]) -> list[Likelihood]:
        return [Likelihood(one.logprob / 4, one.tokens, one.greedy, one.cut) for one in super().score(pairs)]


class RollsOtherwise(OurModel):
    def rolling(self, texts: list[Roll]) -> list[Likelihood]:
        return [changed(one, -2.0) for one in super().rolling(texts)]


class WritesAnother(OurModel):
    def generate(self, prompts: list[Ask]) -> list[Written]:
        return [Written("!?!?", True) for _ in prompts]


class BinaryBase(OurModel):
    """Base-2 logarithms: still additive, still at most 0, and wrong."""

    def score(self, pairs: list[Pair]) -> list[Likelihood]:
        found = super().score(pairs)
        return [Likelihood(one.logprob / math.log(2), one.tokens, one.greedy, one.cut) for one in found]


def test_a_right_adapter_passes_everything(model: OurModel):
    checks = self_test(model)
    assert len(checks) >= 8
    refuse_wrong(checks, "ours")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (DoubledStart, "start token"), (LosesWords, "round trip"), (DependsOnTheBatch, "batch invariance"),
        (CountsPadding, "padding"), (IgnoresTheContext, "context"), (GivesLogits, "probabilities"),
        (PerToken, "prefix equality"), (Flattened, "probabilities"), (RollsOtherwise, "rolling"),
        (WritesAnother, "greedy"), (BinaryBase, "rolling"),
    ],
)  # fmt: skip
def test_a_wrong_adapter_is_refused_with_what_is_wrong(lm: LanguageModel, wrong: type[OurModel], named: str):
    checks = self_test(wrong(lm, "wrong"))
    assert named in {check.name for check in checks if not check.passed}
    with pytest.raises(ConfigError, match=named):
        refuse_wrong(checks, "wrong")


def test_a_model_that_passed_is_not_tested_again(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch):
    cache = AnswerCache(None)
    require_right(OurModel(lm, "right"), cache)
    monkeypatch.setattr("tutelage.evaluation.bench.selftest.self_test", lambda _: pytest.fail("tested again"))
    require_right(OurModel(lm, "right"), cache)


def test_one_that_failed_is(lm: LanguageModel):
    cache = AnswerCache(None)
    for _ in range(2):
        with pytest.raises(ConfigError, match="failed the self-test"):
            require_right(GivesLogits(lm, "wrong"), cache)
