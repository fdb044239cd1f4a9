"""Speculation: the same tokens, in fewer steps."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from family_configs import CASES, fields
from tutelage.inference.constraint import Constraint
from tutelage.inference.engine import Engine
from tutelage.inference.language_model import LanguageModel
from tutelage.inference.sampling import Sampling
from tutelage.inference.sequences import Answer, Failure, Token
from tutelage.inference.speculation import ROWS, Lookup, Speculation
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.model.pack import pack
from tutelage.store.errors import ConfigError
from tutelage.tokenizer.messages import Message

SIZES = {
    "family": "llama", "vocab_size": 96, "hidden_size": 64, "intermediate_size": 96, "num_layers": 2, "num_heads": 4,
    "num_kv_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.3,
}  # fmt: skip
GREEDY = Sampling(max_tokens=40)
SAMPLED = Sampling(max_tokens=40, temperature=0.6, seed=3)
SETTINGS = [
    GREEDY, SAMPLED, replace(SAMPLED, repetition_penalty=1.1, frequency_penalty=0.2, top_logprobs=2),
    replace(SAMPLED, mirostat_tau=3.0, min_tokens=9), replace(SAMPLED, dry_multiplier=0.5, dry_breakers=()),
]  # fmt: skip


@pytest.fixture(autouse=True)
def all_are_drafted_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it would not pay."""
    monkeypatch.setitem(ROWS, "cpu", 40)


class Oracle:
    """Drafts that are right, but for every fifth token: they are of an answer that was made before."""

    def __init__(self, answers: dict[tuple[int, ...], list[int]], prompt: list[int]) -> None:
        self.answer, self.said = answers[tuple(prompt)], 0

    def take(self, token: int) -> None:
        self.said += 1

    def draft(self, most: int) -> list[int]:
        right = self.answer[self.said : self.said + most]
        return [(token + 1) % 96 if (self.said + at) % 5 == 4 else token for at, token in enumerate(right)]


def made(model: DecoderLM, prompts: list[list[int]], settings: list[Sampling], how: Speculation | None = None) -> Any:
    """All that the engine gives out, of each row in its order."""
    engine = Engine(model, [7], most_rows=5, keep=2, speculation=how)
    for row, prompt in enumerate(prompts):
        engine.add(prompt, [(row, settings[row % len(settings)], row)])
    said: dict[int, list[Token | Failure]] = {}
    while engine.busy:
        for token in engine.step():
            said.setdefault(token.row, []).append(token)
    return said


def ids(said: dict[int, list[Token]]) -> dict[int, list[int]]:
    return {row: [token.id for token in tokens] for row, tokens in said.items()}


def prompts(count: int, vocab_size: int = 96, longest: int = 150) -> list[list[int]]:
    draw = random.Random(1)
    lengths = [length for length in (1, 2, 5, 17, 40, 90, 150) if length <= longest]
    return [[draw.randrange(vocab_size) for _ in range(draw.choice(lengths))] for _ in range(count)]


@pytest.mark.parametrize("kind", ["float32", "int4", "int8", "bfloat16"])
def test_answers_are_the_same_to_the_last_bit(kind: Any) -> None:
    """Several at once, come and gone, each with settings of its own; log-probabilities are compared as they are."""
    model = DecoderLM(FamilyConfig.parse(SIZES), seed=1).eval()
    model = model if kind == "float32" else pack(model, kind)
    asked = prompts(10)
    plain = made(model, asked, SETTINGS)
    answers = {tuple(prompt): ids(plain)[row] for row, prompt in enumerate(asked)}
    how = Speculation(lambda prompt: Oracle(answers, list(prompt)))
    assert made(model, asked, SETTINGS, how) == plain
    assert 0 < how.accepted < how.drafted
    assert made(model, asked, SETTINGS, Speculation.lookup()) == plain


@pytest.mark.parametrize(("family", "index"), CASES)
def test_every_family_says_the_same(family: str, index: int) -> None:
    config = FamilyConfig.parse(fields(family, index))
    model = DecoderLM(config, seed=1).eval()
    if config.delta is not None:
        with pytest.raises(ConfigError, match="delta layers"):
            Engine(model, [], speculation=Speculation.lookup())
        return
    asked, settings = prompts(4, longest=40), [replace(one, max_tokens=16) for one in SETTINGS[:3]]
    plain = ids(made(model, asked, settings))
    answers = {tuple(prompt): plain[row] for row, prompt in enumerate(asked)}
    how = Speculation(lambda prompt: Oracle(answers, list(prompt)))
    assert ids(made(model, asked, settings, how)) == plain
    assert how.accepted > 0


def test_a_draft_model_drafts_for_a_larger_one_and_for_itself() -> None:
    model = pack(DecoderLM(FamilyConfig.parse(SIZES), seed=1).eval(), "int4")
    small = DecoderLM(FamilyConfig.parse({**SIZES, "num_layers": 1, "max_position_embeddings": 64}), seed=2).eval()
    asked = prompts(6)
    plain = made(model, asked, SETTINGS[:2])
    by_small, by_itself = Speculation.by(small, 96), Speculation.by(model, 96)
    assert made(model, asked, SETTINGS[:2], by_small) == plain and by_small.drafted > 0
    assert made(model, asked, SETTINGS[:2], by_itself) == plain
    greedy = Speculation.by(model, 96)
    assert made(model, asked, [GREEDY], greedy) == made(model, asked, [GREEDY])
    assert greedy.accepted > 0.9 * greedy.drafted  # it reads in other pieces: rounding may turn a choice


def test_fewer_steps_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    model, prompt = DecoderLM(FamilyConfig.parse(SIZES), seed=1).eval(), [3, 4, 5]
    answer = ids(made(model, [prompt], [GREEDY]))[0]
    steps: list[int] = []
    logits = DecoderLM.logits
    monkeypatch.setattr(DecoderLM, "logits", lambda self, hidden: steps.append(1) or logits(self, hidden))
    oracle = Speculation(lambda given: Oracle({(3, 4, 5): answer}, list(given)))
    assert ids(made(model, [prompt], [GREEDY], oracle))[0] == answer
    assert len(steps) < 0.45 * len(answer)


def test_nothing_is_drafted_past_the_limit_of_an_answer_or_the_context() -> None:
    model = DecoderLM(FamilyConfig.parse({**SIZES, "max_position_embeddings": 64}), seed=1).eval()
    for prompt, limit in (([5] * 60, 40), ([5] * 20, 3)):
        settings = [replace(GREEDY, max_tokens=limit)]
        plain, how = made(model, [prompt], settings), Speculation(lambda _: Always())
        assert made(model, [prompt], settings, how) == plain
        assert plain[0][-1].stop_reason is not None and len(plain[0]) <= 4


class Always:
    def take(self, token: int) -> None: ...

    def draft(self, most: int) -> list[int]:
        return [5] * most


def test_lookup_takes_what_followed_last() -> None:
    text = Lookup([1, 2, 3, 9, 1, 2, 4, 8, 8, 1, 2])
    assert text.draft(3) == [4, 8, 8]
    text.take(3)
    assert text.draft(10) == [9, 1, 2, 4, 8, 8, 1, 2, 3]
    text.take(77)
    assert text.draft(5) == []
    assert Lookup([]).draft(4) == Lookup([5]).draft(4) == []


def test_logits_that_are_not_finite_are_named_where_they_would_have_been(lm: LanguageModel) -> None:
    settings = [replace(SAMPLED, repetition_penalty=1e-38)]
    model = DecoderLM(FamilyConfig.parse(SIZES), seed=1).eval()
    plain = made(model, [[5, 6]], settings)
    (seen,) = made(model, [[5, 6]], settings, Speculation(lambda _: Always()))[0]
    assert isinstance(seen, Failure) and str(seen.error) == str(plain[0][0].error)


def test_a_model_speculates_with_stops_and_forms(lm: LanguageModel) -> None:
    lm = LanguageModel(lm.model, lm.tokenizer)
    prompt = "abcabcabc"
    for sampling in (
        Sampling(max_tokens=30), Sampling(max_tokens=30, temperature=1.0, seed=5, stop=("e", "ab")),
        Sampling(max_tokens=40, temperature=1.0, constraint=Constraint.regex("(abc){3,9}x")),
    ):  # fmt: skip
        lm.speculation = None
        plain = lm.generate([prompt, prompt + "d"], sampling)
        counts = lm.speculate()
        assert lm.generate([prompt, prompt + "d"], sampling) == plain
    assert counts.accepted > 0  # the form repeats itself
    talk = [Message("user", "abab abab")]
    lm.speculation = None
    said = lm.chat(talk)
    lm.speculate(LanguageModel(lm.model, lm.tokenizer))
    assert lm.chat(talk) == said


def test_a_draft_model_of_another_vocabulary_is_refused(lm: LanguageModel) -> None:
    other = LanguageModel(lm.model, lm.tokenizer)
    other.tokenizer = type("Other", (), {"same_tokens": lambda self, one: False})()  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="another vocabulary"):
        LanguageModel(lm.model, lm.tokenizer).speculate(other)


@torch.inference_mode()
def test_a_token_beside_its_drafts_is_computed_as_alone() -> None:
    """Bit for bit, of a model with heads that share keys."""
    model = pack(DecoderLM(FamilyConfig.parse(SIZES), seed=1).eval(), "int4")
    seen: list[Tensor] = []

    class Watched(Engine):
        def _say(self, rows: list[Answer], logits: Tensor, drafts: Any = None) -> list[Token | Failure]:
            seen.append(logits.clone())
            return super()._say(rows, logits, drafts)

    def logits(how: Speculation | None) -> list[Tensor]:
        seen.clear()
        engine = Watched(model, [], speculation=how)
        engine.add(list(range(50)), [(0, GREEDY, 0)])
        while engine.busy:
            engine.step()
        return list(seen)

    alone = torch.cat(logits(None))
    answer = alone.argmax(-1).tolist()
    beside = logits(Speculation(lambda _: Oracle({tuple(range(50)): answer}, list(range(50)))))
    at = 0
    for group in beside:
        right = 1
        while right < len(group) and torch.equal(group[right], alone[at + right]):
            right += 1
        assert torch.equal(group[0], alone[at])
        at += right
    assert at == len(alone) and len(beside) < len(alone) / 2


def test_drafts_that_fail_are_given_up_for_a_while_and_good_ones_grow() -> None:
    drafting = Speculation(lambda _: Always()).of([1])
    seen = []
    for _ in range(30):
        drafted = len(drafting.draft(20))
        seen.append(drafted)
        if drafted:
            drafting.judged(drafted, 0)
    assert [at for at, count in enumerate(seen) if count] == [0, 2, 6, 14]
    drafting = Speculation(lambda _: Always()).of([1])
    counts = []
    for agreed in (3, 7, 2, 3, 0):
        counts.append(len(drafting.draft(20)))
        drafting.judged(counts[-1], agreed)
    assert counts == [3, 7, 7, 3, 7] and drafting.draft(20) == [] and len(drafting.draft(20)) == 1
