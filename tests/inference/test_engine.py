"""The engine: cached equals uncached, together equals alone, limits are limits."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tutelage.inference import prefill
from tutelage.inference.choosing import Chooser, TokenTable, choose
from tutelage.inference.decoding import decode, generate_ids
from tutelage.inference.engine import Engine
from tutelage.inference.language_model import LanguageModel
from tutelage.inference.sampling import Sampling
from tutelage.inference.sequences import Answer, Output, Token
from tutelage.model.decoder import DecoderLM
from tutelage.store.errors import InputError

PROMPTS = [[5], [0, 7, 9, 30, 31, 32, 33, 34, 35], [100] * 40, [8, 9], [0], list(range(60, 85))]
SAMPLED = Sampling(max_tokens=12, temperature=1.0, top_p=0.95, seed=11)


@pytest.fixture
def model(lm: LanguageModel) -> DecoderLM:
    return lm.model


def uncached(model: DecoderLM, prompt: list[int], sampling: Sampling, stop_ids: set[int], row: int = 0) -> list[int]:
    """The definition: read everything anew for each token."""
    ids, chooser = list(prompt), Chooser(sampling, prompt, TokenTable(model.config.vocab_size), row)
    for _ in range(sampling.max_tokens):
        with torch.no_grad():
            logits = model(torch.tensor([ids]))[:, -1]
        ids.append(choose(logits, [chooser])[0].id)
        if ids[-1] in stop_ids:
            break
    return ids[len(prompt) :]


@pytest.mark.parametrize(
    "sampling",
    [Sampling(max_tokens=12), SAMPLED, Sampling(max_tokens=12, temperature=0.7, repetition_penalty=1.3, top_k=20)],
    ids=["greedy", "sampled", "penalised"],
)
@pytest.mark.parametrize("piece", [512, 32])
def test_cached_and_batched_equals_reading_everything_anew(
    model: DecoderLM, sampling: Sampling, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefill, "READ_AT_ONCE", piece)
    outputs = generate_ids(model, PROMPTS, sampling, stop_ids=[40, 41])
    expected = [uncached(model, prompt, sampling, {40, 41}, row) for row, prompt in enumerate(PROMPTS)]
    assert [output.ids for output in outputs] == expected


def test_rows_do_not_depend_on_batch_mates_or_budget(model: DecoderLM) -> None:
    together = generate_ids(model, PROMPTS, SAMPLED, [2])
    for budget in (1, 60, 150):
        assert [o.ids for o in generate_ids(model, PROMPTS, SAMPLED, [2], token_budget=budget)] == [
            o.ids for o in together
        ]
    others = generate_ids(model, [PROMPTS[0], [9, 9, 9], *PROMPTS[2:]], SAMPLED, [2])
    assert others[0].ids == together[0].ids and others[2].ids == together[2].ids
    assert others[1].ids != together[1].ids


def test_rows_of_one_prompt_differ_when_sampled(model: DecoderLM) -> None:
    outputs = generate_ids(model, [[5, 6]] * 4, SAMPLED, [])
    assert len({tuple(output.ids) for output in outputs}) == 4


def test_logprobs_are_the_models_own(model: DecoderLM) -> None:
    prompt = PROMPTS[1]
    output = generate_ids(model, [prompt], Sampling(max_tokens=8, temperature=2.5, top_k=4), [])[0]
    with torch.no_grad():
        logprobs = model(torch.tensor([prompt + output.ids])).log_softmax(-1)[0, len(prompt) - 1 : -1]
    own = logprobs.gather(-1, torch.tensor(output.ids)[:, None]).squeeze(-1)
    torch.testing.assert_close(torch.tensor(output.logprobs), own, atol=1e-4, rtol=1e-4)


def test_streaming_gives_what_generating_gives(model: DecoderLM) -> None:
    output = generate_ids(model, [PROMPTS[1]], SAMPLED, [2])[0]
    streamed = [(token.id, token.logprob) for token in decode(model, [PROMPTS[1]], SAMPLED, [2])]
    assert streamed == list(zip(output.ids, output.logprobs, strict=True))


def test_a_stop_id_ends_a_row_and_is_part_of_its_ids(model: DecoderLM) -> None:
    free = generate_ids(model, [[5]], Sampling(max_tokens=20), [])[0]
    assert free.stop_reason == "length" and len(free.ids) == 20
    stop = free.ids[6]
    first = free.ids.index(stop)
    assert generate_ids(model, [[5]], Sampling(max_tokens=20), [stop])[0] == Output(
        free.ids[: first + 1], free.logprobs[: first + 1], "stop"
    )


def test_generation_ends_where_the_context_is_full(model: DecoderLM) -> None:
    context = model.config.max_position_embeddings
    outputs = generate_ids(model, [[5] * (context - 3), [7]], Sampling(max_tokens=1000), [])
    assert [(len(output.ids), output.stop_reason) for output in outputs] == [(3, "length"), (context - 1, "length")]


@pytest.mark.parametrize("length", [96, 97, 300])
def test_a_prompt_that_fills_the_context_is_refused_with_both_numbers(model: DecoderLM, length: int) -> None:
    with pytest.raises(InputError, match=f"prompt 1 has {length} tokens.* 96"):
        generate_ids(model, [[5], [5] * length], Sampling(), [])


@pytest.mark.parametrize("prompt", [[], [-1], [999]])
def test_impossible_prompts_are_refused(model: DecoderLM, prompt: list[int]) -> None:
    with pytest.raises(InputError, match="prompt 0 has"):
        generate_ids(model, [prompt], Sampling(), [])


def test_no_prompts_no_outputs(model: DecoderLM) -> None:
    assert generate_ids(model, [], Sampling(), []) == []


def test_rows_that_ended_are_not_computed(model: DecoderLM, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    say = Engine._say

    def counted(self: Engine, asked: list[Answer], *more: Any) -> list[Token]:
        rows.append(len(asked))
        return say(self, asked, *more)

    monkeypatch.setattr(Engine, "_say", counted)
    made: dict[int, int] = {}

    def on_token(token: Token) -> bool:
        made[token.row] = made.get(token.row, 0) + 1
        return made[token.row] == token.row + 1

    outputs = generate_ids(model, [[5], [6], [7]], Sampling(max_tokens=10), [], on_token)
    assert [(len(output.ids), output.stop_reason) for output in outputs] == [(1, "stop"), (2, "stop"), (3, "stop")]
    assert rows == [1, 1, 1, 3, 1]  # each after its prompt, all (a token is seen after its step), the last


def test_rows_ended_before_their_batch_are_never_read(model: DecoderLM) -> None:
    ended = {1}
    rows = {token.row for token in decode(model, [[5], [6], [7]], Sampling(max_tokens=3), [], ended, token_budget=1)}
    assert rows == {0, 2}
