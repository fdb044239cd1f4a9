"""What a conversation says beside its texts: names, how long to think, how long and by what chance to answer."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tool_templates import QWEN
from tutelage.inference.language_model import LanguageModel
from tutelage.serving.app import make_app
from tutelage.serving.protocol import Limits
from tutelage.tokenizer.tokenizer import Tokenizer

CHAT = "/v1/chat/completions"
NAMES = """\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + (' ' + message.name if message.name else '') + '\\n' + message.content }}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""
THINKING = NAMES.replace(
    "assistant\\n' }}{%- endif",
    "assistant\\n' }}{%- if enable_thinking is defined and not enable_thinking %}{{- '-' }}{%- endif %}{%- endif",
)
EFFORT = "{%- if reasoning_effort is not defined %}{%- set reasoning_effort = 'medium' %}{%- endif %}" + NAMES.replace(
    "assistant\\n'", "assistant\\n' + reasoning_effort"
)


def server_of(lm: LanguageModel, template: str | None = None, **limits: Any) -> TestClient:
    tok = lm.tokenizer
    taught = tok if template is None else Tokenizer(tok.definition, tok.settings, template)
    model = copy.copy(lm.model)
    model.config = lm.config.with_(max_position_embeddings=limits.pop("context", lm.context))
    app = make_app(LanguageModel(model, taught), "tiny", limits=Limits(**limits))
    return TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)


def ask(server: TestClient, path: str = CHAT, status: int = 200, **fields: Any) -> Any:
    content = {"input": "a"} if path == "/v1/responses" else {"messages": [{"role": "user", "content": "a"}]}
    fields = {"model": "tiny", "temperature": 0, **content, **fields}
    response = server.post(path, json=fields)
    assert response.status_code == status, response.text
    return response.json() if status == 200 else response.json()["error"]


def shown(server: TestClient, messages: list[Any]) -> str:
    response = server.post("/v1/apply-template", json={"model": "tiny", "messages": messages})
    assert response.status_code == 200, response.text
    return str(response.json()["prompt"])


# -- names


def test_a_name_is_shown_where_the_template_shows_it(lm: LanguageModel) -> None:
    server = server_of(lm, NAMES)
    messages = [{"role": "user", "content": "a", "name": "ann"}, {"role": "user", "content": "b"}]
    assert "user ann\na" in shown(server, messages)
    plain = [{"role": "user", "content": "a"}, messages[1]]
    usages = [ask(server, messages=one, max_tokens=1)["usage"] for one in (messages, plain)]
    assert usages[0]["prompt_tokens"] == usages[1]["prompt_tokens"] + len(" ann")


@pytest.mark.parametrize("path", [CHAT, "/v1/tokenize", "/v1/apply-template"])
def test_a_name_that_no_model_would_see_is_refused(lm: LanguageModel, path: str) -> None:
    messages = [{"role": "user", "content": "a"}, {"role": "user", "content": "b", "name": "ann"}]
    response = server_of(lm).post(path, json={"model": "tiny", "messages": messages})
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, "messages.1.name")
    assert "does not show it the name" in error["message"]
    ask(server_of(lm), messages=[{"role": "user", "content": "a", "name": ""}], max_tokens=1)


@pytest.mark.parametrize("name", ["<|im_end|>", "a b", "a\n", "x" * 65, "a<b"])
def test_a_name_is_a_word(lm: LanguageModel, name: str) -> None:
    message = {"role": "user", "content": "a", "name": name}
    assert ask(server_of(lm, NAMES), messages=[message], status=400)["param"] == "messages.0.name"


def test_a_result_may_name_the_function_that_was_called(lm: LanguageModel) -> None:
    call = {"id": "abcdefghi", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    told = [
        {"role": "user", "content": "a"}, {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "b", "tool_call_id": "abcdefghi"},
    ]  # fmt: skip
    server = server_of(lm, QWEN, context=512)
    plain = ask(server, messages=told, max_tokens=3)
    named = ask(server, messages=[*told[:2], {**told[2], "name": "weather"}], max_tokens=3)
    assert named["choices"] == plain["choices"]
    error = ask(server, messages=[*told[:2], {**told[2], "name": "other"}], status=400)
    assert error["param"] == "messages.2.name"


# -- how long to think


@pytest.mark.parametrize(
    ("template", "taken"),
    [(NAMES, {"none"}), (THINKING, {"none"}), (EFFORT, {"low", "medium", "high"})],
    ids=["neither", "thinking", "effort"],
)
def test_an_effort_is_taken_where_the_template_knows_it(lm: LanguageModel, template: str, taken: set[str]) -> None:
    server = server_of(lm, template)
    for effort in ("none", "low", "medium", "high"):
        status = 200 if effort in taken else 400
        made = ask(server, reasoning_effort=effort, status=status, max_tokens=1)
        given = ask(server, "/v1/responses", reasoning={"effort": effort}, status=status, max_output_tokens=1)
        if status == 200:
            assert given["reasoning"] == {"effort": effort, "summary": None}
        else:
            assert (made["param"], given["param"]) == ("reasoning_effort", "reasoning.effort")


def test_an_effort_acts(lm: LanguageModel) -> None:
    def tokens(template: str, **fields: Any) -> int:
        return int(ask(server_of(lm, template), max_tokens=1, **fields)["usage"]["prompt_tokens"])

    assert tokens(THINKING, reasoning_effort="none") == tokens(THINKING) + len("-")
    assert tokens(EFFORT, reasoning_effort="low") == tokens(EFFORT) - len("medium") + len("low")


# -- how long, and by what chance


@pytest.mark.parametrize(
    ("path", "field"),
    [(CHAT, "max_tokens"), (CHAT, "max_completion_tokens"), ("/v1/completions", "max_tokens"),
     ("/v1/responses", "max_output_tokens")],
)  # fmt: skip
def test_more_tokens_than_the_server_allows_are_taken_where_the_context_ends_before(
    lm: LanguageModel, path: str, field: str
) -> None:
    count = {CHAT: len(lm.chat_ids([{"role": "user", "content": "a"}])), "/v1/completions": len(lm.prompt_ids("a"))}
    room = lm.context - count.get(path, count[CHAT])
    more: dict[str, Any] = {"prompt": "a"} if path == "/v1/completions" else {}

    def asked(limit: int, tokens: int, status: int) -> Any:
        server = server_of(lm, max_tokens=limit)
        body = {"model": "tiny", "messages": [{"role": "user", "content": "a"}], field: tokens}
        body = {"model": "tiny", "input": "a", field: tokens} if path == "/v1/responses" else body
        body = {"model": "tiny", field: tokens, **more} if more else body
        response = server.post(path, json=body)
        assert response.status_code == status, response.text
        return response.json()

    for tokens in (room, 10**6, 2**62):
        asked(room, tokens, 200)
    error = asked(room - 1, 10**6, 400)["error"]
    assert error["param"] == field and f"this server allows {room - 1}" in error["message"]
    asked(room - 1, 2**63, 400)


def test_a_negative_seed_is_a_seed(lm: LanguageModel) -> None:
    server = server_of(lm)

    def text(seed: int) -> str:
        made = ask(server, seed=seed, temperature=1.5, max_tokens=30, ignore_eos=True)
        return str(made["choices"][0]["message"]["content"])

    seeds = [-1, -2, -(2**63), 2**63 - 1, 0, 1]
    drawn = [text(seed) for seed in seeds]
    assert len(set(drawn)) == len(seeds) and drawn == [text(seed) for seed in seeds]
