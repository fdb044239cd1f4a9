"""/v1/completions: several prompts, echo with log-probabilities, scoring alone, best_of."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from fastapi.testclient import TestClient
from served import serving

from tutelage.inference.language_model import LanguageModel
from tutelage.inference.sampling import Sampling
from tutelage.serving.app import make_app
from tutelage.serving.completion_protocol import CompletionRequest
from tutelage.serving.neutral import REQUEST
from tutelage.serving.protocol import Limits

TEXT = "/v1/completions"
PROMPTS = ["abc", "", "größer als 3 €", "abc"]
LIMITS = Limits(max_tokens=40, choices=3, prompts=4, waiting=2, together=3)


@pytest.fixture
def server(lm: LanguageModel) -> TestClient:
    app = make_app(lm, "tiny", limits=LIMITS)
    return TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)


def ask(server: TestClient, **fields: Any) -> Any:
    response = server.post(TEXT, json={"model": "tiny", "temperature": 0, "max_tokens": 9, **fields})
    assert response.status_code == 200, response.text
    return response.json()


def refused(server: TestClient, **fields: Any) -> Any:
    response = server.post(TEXT, json={"model": "tiny", "prompt": "a", "max_tokens": 9, **fields})
    assert response.status_code == 400, response.text
    return response.json()["error"]


def streamed(server: TestClient, **fields: Any) -> tuple[list[Any], Any]:
    """The choices that the events of a stream make together, and its usage."""
    asked = {"model": "tiny", "temperature": 0, "max_tokens": 9, "stream": True, **fields}
    response = server.post(TEXT, json={**asked, "stream_options": {"include_usage": True}})
    lines = response.text.strip().split("\n\n")
    assert lines[-1] == "data: [DONE]"
    made: dict[int, Any] = {}
    *steps, last = [json.loads(line[6:]) for line in lines[:-1]]
    for step in steps:
        (one,) = step["choices"]
        whole = made.setdefault(one["index"], {"index": one["index"], "text": "", "logprobs": None})
        whole["text"] += one["text"]
        for name, values in (one["logprobs"] or {}).items():
            whole["logprobs"] = whole["logprobs"] or {}
            whole["logprobs"][name] = whole["logprobs"].get(name, []) + values
        assert "finish_reason" not in whole, "something came after the end"
        if one["finish_reason"]:
            whole["finish_reason"] = one["finish_reason"]
    return [made[index] for index in sorted(made)], last["usage"]


def own(lm: LanguageModel, ids: list[int]) -> list[float]:
    """Log-probabilities of all ids but the first, from the logits."""
    logprobs = lm.logits([ids])[0].log_softmax(-1)
    return [float(logprobs[at, token]) for at, token in enumerate(ids[1:])]


# -- several prompts


@pytest.mark.parametrize("kind", ["texts", "ids"])
@pytest.mark.parametrize("temperature", [0, 1])
def test_several_prompts_are_answered_as_by_generate(
    server: TestClient, lm: LanguageModel, kind: str, temperature: int
) -> None:
    given: Any = PROMPTS if kind == "texts" else [lm.prompt_ids(one) for one in PROMPTS]
    body = ask(server, prompt=given, temperature=temperature, seed=5)
    expected = lm.generate(given, Sampling(max_tokens=9, temperature=temperature, seed=5))
    assert [one["text"] for one in body["choices"]] == [one.text for one in expected]
    assert [one["finish_reason"] for one in body["choices"]] == [one.stop_reason for one in expected]
    assert [one["index"] for one in body["choices"]] == [0, 1, 2, 3]
    usage = body["usage"]
    assert usage["prompt_tokens"] == sum(len(lm.prompt_ids(one)) for one in PROMPTS)
    assert usage["completion_tokens"] == sum(len(one.ids) for one in expected)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_the_choices_of_the_first_prompt_come_first(server: TestClient, lm: LanguageModel) -> None:
    body = ask(server, prompt=["abc", "xyz"], n=2, temperature=1, seed=3, max_tokens=20)
    rows = lm.generate(["abc", "abc", "xyz", "xyz"], Sampling(max_tokens=20, temperature=1, seed=3))
    assert [one["text"] for one in body["choices"]] == [one.text for one in rows]
    assert len({one.text for one in rows}) == 4
    # A prompt is read once for all that answer it, and counted once.
    assert body["usage"]["prompt_tokens"] == 2 * len(lm.prompt_ids("abc"))


def test_equal_prompts_without_a_seed_get_different_answers(server: TestClient) -> None:
    body = ask(server, prompt=["abc"] * 4, temperature=1.5, max_tokens=30)
    assert len({one["text"] for one in body["choices"]}) > 1


def test_more_answers_than_are_made_at_once_all_come(server: TestClient) -> None:
    body = ask(server, prompt=["a", "b", "c", "d"], n=3, temperature=1, seed=1)
    assert [one["index"] for one in body["choices"]] == list(range(12))
    assert all(one["finish_reason"] in ("stop", "length") for one in body["choices"])


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": PROMPTS, "n": 2, "temperature": 1, "seed": 2},
        {"prompt": PROMPTS, "echo": True},
        {"prompt": PROMPTS, "echo": True, "logprobs": 2, "n": 2, "temperature": 1, "seed": 7},
        {"prompt": ["a", "b"], "echo": True, "logprobs": 0, "max_tokens": 0},
        {"prompt": "a", "echo": True, "max_tokens": 0, "n": 2},
        {"prompt": [[70, 71, 200], [0]], "echo": True, "logprobs": 1, "max_tokens": 3},
        {"prompt": "abc", "logprobs": 1, "best_of": 2, "n": 2, "temperature": 1, "seed": 7, "stop": ["e"]},
    ],
    ids=str,
)
def test_a_stream_says_what_the_whole_answer_says(server: TestClient, fields: Any) -> None:
    whole = ask(server, **fields, cache_salt="whole")
    choices, usage = streamed(server, **fields, cache_salt="stream")
    assert choices == whole["choices"] and usage == whole["usage"]


# -- echo and scoring


def test_echo_puts_the_prompt_before_each_answer(server: TestClient, lm: LanguageModel) -> None:
    plain = ask(server, prompt=PROMPTS)
    echoed = ask(server, prompt=PROMPTS, echo=True)
    assert [one["text"] for one in echoed["choices"]] == [
        prompt + one["text"] for prompt, one in zip(PROMPTS, plain["choices"], strict=True)
    ]
    ids = [[0, 70, 71], [1, 200]]
    echoed = ask(server, prompt=ids, echo=True, max_tokens=0)
    assert [one["text"] for one in echoed["choices"]] == [lm.tokenizer.decode(one, skip_special=False) for one in ids]
    plain, unechoed = ask(server, prompt="abc"), ask(server, prompt="abc", echo=False)
    assert (unechoed["choices"], unechoed["usage"]["total_tokens"]) == (
        plain["choices"],
        plain["usage"]["total_tokens"],
    )


@pytest.mark.parametrize("text", ["größer als 3 €", "abc", "a"])
def test_log_probabilities_of_a_text_are_those_given_all_before(
    server: TestClient, lm: LanguageModel, text: str
) -> None:
    (choice,) = ask(server, prompt=text, echo=True, logprobs=3, max_tokens=0)["choices"]
    ids, found = lm.tokenizer.encode(text), choice["logprobs"]
    assert choice["text"] == text and choice["finish_reason"] == "length"
    assert found["token_logprobs"][0] is None and found["top_logprobs"][0] is None
    assert found["token_logprobs"][1:] == pytest.approx(own(lm, [lm.tokenizer.start_id, *ids])[1:], abs=1e-5)
    assert len(found["tokens"]) == len(ids) == len(found["top_logprobs"])
    # Each token begins where the character begins that it is a part of.
    starts = [text[: len(bytes(text, "utf-8")[:at].decode(errors="ignore"))] for at in range(len(ids))]
    assert found["text_offset"] == [len(one) for one in starts]
    for token, logprob, tops in zip(
        found["tokens"][1:], found["token_logprobs"][1:], found["top_logprobs"][1:], strict=True
    ):
        assert tops[token] == logprob and len(tops) in (3, 4)
    assert all(name.isascii() or len(name) == 1 for name in found["tokens"])


def test_tokens_that_are_no_whole_character_are_named_by_their_bytes(server: TestClient) -> None:
    (choice,) = ask(server, prompt="ö", echo=True, logprobs=0, max_tokens=0)["choices"]
    assert choice["logprobs"]["tokens"] == ["bytes:\\xc3", "bytes:\\xb6"]


def test_ids_are_scored_as_they_are(server: TestClient, lm: LanguageModel) -> None:
    rows = [[70, 71, 200, 9], [0, 70], [5]]
    body = ask(server, prompt=rows, echo=True, logprobs=1, max_tokens=0)
    for ids, choice in zip(rows, body["choices"], strict=True):
        found = choice["logprobs"]["token_logprobs"]
        assert found[0] is None and found[1:] == pytest.approx(own(lm, ids), abs=1e-5)
    assert body["usage"]["completion_tokens"] == 0 and body["usage"]["prompt_tokens"] == 7


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_is_read_once_for_its_own_log_probabilities_and_all_answers(
    lm: LanguageModel, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = TestClient(make_app(lm, "tiny", limits=LIMITS), base_url="http://127.0.0.1:8000")
    text = "a long text, " * 5
    ask(server, prompt=text)  # which is cached from now on, without its own log-probabilities
    read, hidden = list[int](), lm.model.hidden
    monkeypatch.setattr(lm.model, "hidden", lambda ids, *a, **k: read.append(ids.shape[1]) or hidden(ids, *a, **k))
    fields: Any = {"prompt": [text, "abc"], "echo": True, "logprobs": 2, "n": 2, "max_tokens": 3, "ignore_eos": True}
    if stream:
        choices, usage = streamed(server, **fields)
    else:
        whole = ask(server, **fields)
        choices, usage = whole["choices"], whole["usage"]
    assert sum(count for count in read if count > 1) == len(text) + 1 + len("abc") + 1
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    monkeypatch.undo()
    scored = ask(server, prompt=[text, "abc"], echo=True, logprobs=2, max_tokens=0, n=2)["choices"]
    for one, other in zip(choices, scored, strict=True):
        count = len(other["logprobs"]["tokens"])
        for name in ("tokens", "text_offset"):
            assert one["logprobs"][name][:count] == other["logprobs"][name]
            assert len(one["logprobs"][name]) == count + 3
        assert one["logprobs"]["token_logprobs"][1:count] == pytest.approx(
            other["logprobs"]["token_logprobs"][1:], abs=1e-5
        )
        for mine, theirs in zip(
            one["logprobs"]["top_logprobs"][1:count], other["logprobs"]["top_logprobs"][1:], strict=True
        ):
            assert mine == pytest.approx(theirs, abs=1e-5)


def test_prompt_and_answer_have_one_list_of_log_probabilities(server: TestClient, lm: LanguageModel) -> None:
    (choice,) = ask(server, prompt="abc", echo=True, logprobs=0, max_tokens=12)["choices"]
    (made,) = lm.generate(["abc"], Sampling(max_tokens=12))
    found = choice["logprobs"]
    assert found["token_logprobs"][3:] == pytest.approx(made.logprobs, abs=1e-5)
    begins = [3 + len(lm.tokenizer.decode(made.ids[:at])) for at in range(len(made.ids))]
    assert found["text_offset"] == [0, 1, 2, *begins]


def test_a_token_that_ends_the_answer_counts_with_echo(server: TestClient, lm: LanguageModel) -> None:
    fields: Any = {"prompt": "abc", "logprobs": 1, "logit_bias": {str(lm.stop_ids[0]): 100}, "max_tokens": 1}
    (choice,) = ask(server, **fields, echo=True)["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("abc", "stop")
    assert len(choice["logprobs"]["tokens"]) == 4 and choice["logprobs"]["text_offset"] == [0, 1, 2, 3]
    assert ask(server, **fields)["choices"][0]["logprobs"]["tokens"] == []


def test_a_prompt_may_fill_the_context_where_nothing_is_made(server: TestClient, lm: LanguageModel) -> None:
    full = [70] * lm.context
    (choice,) = ask(server, prompt=full, echo=True, logprobs=0, max_tokens=0)["choices"]
    assert len(choice["logprobs"]["tokens"]) == lm.context
    for prompt, fields, where in (
        ([70] * (lm.context + 1), {"max_tokens": 0}, "prompt"), (full, {"max_tokens": 1}, "prompt"),
        ([[70], full], {"max_tokens": 1}, "prompt.1"), (["a", "a" * lm.context], {"max_tokens": 1}, "prompt.1"),
    ):  # fmt: skip
        for echo in (True, False):
            if echo or fields["max_tokens"]:
                error = refused(server, prompt=prompt, echo=echo, **fields)
                assert (error["code"], error["param"]) == ("context_length_exceeded", where)


@pytest.mark.parametrize("echo", [False, True])
def test_several_prompts_have_a_limit_together(lm: LanguageModel, echo: bool) -> None:
    app = make_app(lm, "tiny", limits=Limits(input_tokens=20))
    server = TestClient(app, base_url="http://127.0.0.1:8000")
    error = refused(server, prompt=["a" * 9, "b" * 10], echo=echo)
    assert error["param"] == "prompt" and "21 tokens in all asked for, this server allows 20" in error["message"]
    ask(server, prompt=["a" * 9, "b" * 9], echo=echo, max_tokens=1)


# -- best_of


def test_the_best_of_several_are_given_and_all_are_counted(server: TestClient, lm: LanguageModel) -> None:
    sampling = Sampling(max_tokens=20, temperature=1.0, seed=4)
    expected = lm.best_of("abc", 3, sampling)
    body = ask(server, prompt="abc", best_of=3, temperature=1, seed=4, max_tokens=20)
    assert [one["text"] for one in body["choices"]] == [expected[0].text]
    assert body["usage"]["completion_tokens"] == sum(len(one.ids) for one in expected)
    body = ask(server, prompt="abc", best_of=3, n=2, temperature=1, seed=4, max_tokens=20)
    assert [one["text"] for one in body["choices"]] == [one.text for one in expected[:2]]
    assert [one["index"] for one in body["choices"]] == [0, 1]
    several = ask(server, prompt=["abc", "xyz"], best_of=3, temperature=1, seed=4, max_tokens=20)["choices"]
    rows = lm.generate(["abc"] * 3 + ["xyz"] * 3, sampling)
    best = [max(rows[at : at + 3], key=lambda one: sum(one.logprobs) / len(one.logprobs)) for at in (0, 3)]
    assert [one["text"] for one in several] == [one.text for one in best]


# -- what is refused


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        ({"prompt": ["a"] * 5}, "prompt", "5 prompts asked for, this server allows 4"),
        ({"prompt": [[5]] * 5}, "prompt", "5 prompts asked for, this server allows 4"),
        ({"prompt": []}, "prompt", ""),
        ({"prompt": [[]]}, "prompt.0", ""),
        ({"prompt": ["a", 5]}, "prompt.0", ""),
        ({"prompt": [[5], "a"]}, "prompt.0", ""),
        ({"prompt": [[5], [10**6]]}, "prompt.1", "1000000 is no token"),
        ({"prompt": {"a": 1}}, "prompt", ""),
        ({"prompt": None}, "prompt", ""),
        ({"best_of": 4}, "best_of", "4 choices asked for, this server allows 3"),
        ({"best_of": 1, "n": 2}, "best_of", "best_of 1 is less than n, which is 2"),
        ({"best_of": 2, "stream": True}, "best_of", "cannot be streamed"),
        ({"best_of": 0}, "best_of", ""),
        ({"max_tokens": 0}, "max_tokens", "goes with echo"),
        ({"max_tokens": -1}, "max_tokens", ""),
        ({"echo": "yes"}, "echo", ""),
        ({"suffix": " end"}, "suffix", 'suffix: this server does nothing of the kind and takes only ""'),
        ({"logprobs": 6}, "logprobs", ""),
    ],
    ids=str,
)
def test_what_is_wrong_is_refused_by_name(server: TestClient, fields: Any, param: str, said: str) -> None:
    error = refused(server, **fields)
    assert error["param"] == param and said in error["message"]


def test_the_document_has_every_field_and_what_is_allowed(server: TestClient) -> None:
    schema = server.get("/openapi.json").json()["components"]["schemas"]["CompletionRequest"]
    fields = schema["properties"]
    assert set(fields) == {*CompletionRequest.model_fields, *REQUEST}
    assert [one.get("maxItems") for one in fields["prompt"]["anyOf"]] == [None, None, 4, 4]
    assert [fields[name]["anyOf"][0]["maximum"] for name in ("n", "best_of")] == [3, 3]
    assert fields["max_tokens"]["anyOf"][0]["minimum"] == 0
    for name in ("echo", "best_of"):  # they act, and are no longer among what asks for nothing
        assert "Asks for nothing" not in fields[name]["description"]
    assert fields["suffix"]["anyOf"] == [{"const": ""}, {"type": "null"}]


# -- clients


@pytest.fixture
def url(lm: LanguageModel) -> Iterator[str]:
    with serving(lm, LIMITS) as port:
        yield f"http://127.0.0.1:{port}/v1"


def test_the_official_client_plain_streamed_and_asynchronous(url: str, lm: LanguageModel) -> None:
    fields: Any = {"model": "tutelage", "prompt": ["abc", "x"], "max_tokens": 5, "temperature": 0, "logprobs": 1}
    fields["echo"] = True
    with openai.OpenAI(base_url=url, api_key="any", max_retries=0) as client:
        whole = client.completions.create(**fields)
        texts = ["", ""]
        for chunk in client.completions.create(**fields, stream=True):
            texts[chunk.choices[0].index] += chunk.choices[0].text
        scored = client.completions.create(**{**fields, "max_tokens": 0})

    async def ask_twice() -> Any:
        async with openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as client:
            return await asyncio.gather(*(client.completions.create(**fields) for _ in range(2)))

    assert texts == [one.text for one in whole.choices]
    assert texts[0] == "abc" + lm.generate(["abc"], Sampling(max_tokens=5))[0].text
    logprobs = scored.choices[0].logprobs
    assert logprobs is not None and logprobs.tokens == ["a", "b", "c"] and logprobs.token_logprobs is not None
    for again in asyncio.run(ask_twice()):
        assert again.choices == whole.choices


@pytest.mark.parametrize(("as_ids", "batch"), [(False, 1), (False, 3), (True, 1), (True, 3)])
def test_the_harness_gets_our_scores_by_its_local_completions(
    url: str, lm: LanguageModel, tmp_path: Path, as_ids: bool, batch: int
) -> None:
    """As texts it gets what `score` says. As ids it sends them without the token that begins a document."""
    completions = pytest.importorskip("lm_eval.models.openai_completions")
    pytest.importorskip("tenacity")
    instance = pytest.importorskip("lm_eval.api.instance").Instance
    lm.save(tmp_path / "model")
    theirs = completions.LocalCompletionsAPI(
        f"{url}/completions", tokenizer_backend="huggingface", model="tutelage", tokenizer=str(tmp_path / "model"),
        tokenized_requests=as_ids, batch_size=batch, max_length=lm.context,
    )  # fmt: skip
    pairs = [("One line ", "goes on"), ("One line", " ends"), ("Grüße", " aus Köln"), ("Q: 1+1\nA:", " 2")]
    for at in (2, 5, 9):  # what the model finds likeliest
        (made,) = lm.generate(["abc"], Sampling(max_tokens=at))
        pairs.append(("abc", made.text))
    found = theirs.loglikelihood([instance("loglikelihood", {}, pair, 0) for pair in pairs], disable_tqdm=True)
    if not as_ids:
        for got, score in zip(found, lm.score(pairs), strict=True):
            assert got == (pytest.approx(score.logprob, abs=1e-4), score.is_greedy)
        assert {greedy for _, greedy in found} == {True, False}
        return
    for (context, continuation), (logprob, greedy) in zip(pairs, found, strict=True):
        kept = context.rstrip()
        before, ids = (lm.tokenizer.encode(text) for text in (kept, context + continuation))
        logits = lm.logits([ids])[0, len(before) - 1 : -1]
        assert logprob == pytest.approx(sum(own(lm, ids)[len(before) - 1 :]), abs=1e-4)
        assert greedy == (logits.argmax(-1).tolist() == ids[len(before) :])
    # With nothing before it, it puts the token before it that we do.
    (alone,) = theirs.loglikelihood([instance("loglikelihood", {}, ("", "Alone"), 0)], disable_tqdm=True)
    (score,) = lm.score([("", "Alone")])
    assert alone == (pytest.approx(score.logprob, abs=1e-4), score.is_greedy)
    (rolled,) = theirs.loglikelihood_rolling(
        [instance("loglikelihood_rolling", {}, ("One line.\n",), 0)], disable_tqdm=True
    )
    assert rolled == pytest.approx(lm.rolling(["One line.\n"])[0], abs=1e-4)
    settings = {"until": ["e"], "max_gen_toks": 9, "do_sample": False}
    (written,) = theirs.generate_until([instance("generate_until", {}, ("One", settings), 0)], disable_tqdm=True)
    (expected,) = lm.generate([lm.tokenizer.encode("One")], Sampling(max_tokens=9, stop=("e", "<|endoftext|>")))
    assert written == expected.text
