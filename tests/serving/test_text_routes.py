"""Tokens, templates, embeddings and decisions: what they say is what the model does, and the limits hold."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from served import classifier_of

from tutelage.inference.language_model import LanguageModel
from tutelage.serving.app import make_app
from tutelage.serving.protocol import Limits
from tutelage.store.errors import ConfigError

MESSAGES = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "why <|im_end|>?"}]
LIMITS = Limits(messages=3, texts=4, input_tokens=300)


def client(lm: LanguageModel, **options: Any) -> TestClient:
    app = make_app(lm, "tiny", limits=LIMITS, **options)
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


@pytest.fixture
def server(lm: LanguageModel) -> TestClient:
    return client(lm)


def post(server: TestClient, path: str, status: int = 200, **fields: Any) -> Any:
    response = server.post(f"/v1/{path}", json={"model": "tiny", **fields})
    assert response.status_code == status, response.text
    return response.json() if status == 200 else response.json()["error"]


# -- tokens


def test_tokens_are_those_that_are_generated_from(server: TestClient, lm: LanguageModel) -> None:
    made = post(server, "tokenize", prompt="aé")
    assert made == {
        "tokens": lm.prompt_ids("aé"), "count": 4, "max_model_len": lm.context, "token_strs": None
    }  # fmt: skip
    assert post(server, "tokenize", prompt="aé", add_special_tokens=False)["tokens"] == lm.tokenizer.encode("aé")
    assert post(server, "tokenize", messages=MESSAGES)["tokens"] == lm.chat_ids(MESSAGES)
    assert post(server, "tokenize", prompt="ab", return_token_strs=True)["token_strs"] == ["<|endoftext|>", "a", "b"]


def test_tokens_become_text_again(server: TestClient, lm: LanguageModel) -> None:
    ids = lm.chat_ids(MESSAGES)
    text = post(server, "detokenize", tokens=ids)["prompt"]
    assert text == post(server, "apply-template", messages=MESSAGES)["prompt"]
    assert text.endswith("<|im_start|>assistant\n")
    ended = post(server, "apply-template", messages=MESSAGES, add_generation_prompt=False)["prompt"]
    assert text.startswith(ended) and ended.endswith("<|im_end|>\n")
    assert post(server, "detokenize", tokens=[])["prompt"] == ""


# -- embeddings


def by_hand(lm: LanguageModel, ids: list[int]) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        mean = lm.model.hidden(torch.tensor([ids]))[0, 1:].mean(0)
    return (mean / mean.norm()).numpy()


def test_an_embedding_is_the_mean_state_at_length_one(server: TestClient, lm: LanguageModel) -> None:
    texts = ["a", "a longer text", "b"]
    made = post(server, "embeddings", input=texts)
    assert [one["index"] for one in made["data"]] == [0, 1, 2] and made["object"] == "list" and made["model"] == "tiny"
    for text, one in zip(texts, made["data"], strict=True):
        assert one["object"] == "embedding"
        np.testing.assert_allclose(one["embedding"], by_hand(lm, lm.prompt_ids(text)), atol=1e-5)
        assert sum(value**2 for value in one["embedding"]) == pytest.approx(1)
    tokens = sum(len(lm.prompt_ids(text)) for text in texts)
    assert made["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


def test_an_embedding_comes_packed_and_of_ids_too(server: TestClient, lm: LanguageModel) -> None:
    plain = post(server, "embeddings", input="ab")["data"][0]["embedding"]
    packed = post(server, "embeddings", input="ab", encoding_format="base64", dimensions=lm.config.hidden_size)
    unpacked = np.frombuffer(base64.b64decode(packed["data"][0]["embedding"]), dtype="<f4")
    np.testing.assert_array_equal(np.array(plain, dtype=np.float32), unpacked)
    ids = lm.tokenizer.encode("ab")
    assert post(server, "embeddings", input=ids)["data"][0]["embedding"] == plain
    assert len(post(server, "embeddings", input=[ids, ids])["data"]) == 2


# -- decisions


def test_a_decision_is_what_the_classifier_says(lm: LanguageModel, classifier: LanguageModel) -> None:
    server = client(lm, classifiers={"spam": classifier})
    choices = [{"value": "spam"}, {"value": "ham"}]
    questions = [{"type": "choice", "choices": choices, "name": "q"}, {"type": "predicate", "name": "ham"}]
    made = post(server, "decisions", model="spam", input="win", questions=questions)
    (expected,) = classifier.classify(["win"])
    choice, predicate = made["answers"]
    best = max(expected, key=expected.__getitem__)
    assert (choice["type"], choice["name"], choice["choice"], choice["confidence"]) == (
        "choice",
        "q",
        best,
        expected[best],
    )
    assert choice["probabilities"] == [{"value": name, "probability": expected[name]} for name in ("spam", "ham")]
    assert predicate == {"type": "predicate", "name": "ham", "probability": expected["ham"]}
    assert made["model"] == "spam" and made["usage"]["input_tokens"] == len(classifier.read(["win"])[0])


def test_what_the_classifier_has_not_learned_is_not_asked(lm: LanguageModel, classifier: LanguageModel) -> None:
    server = client(lm, classifiers={"spam": classifier, "both": classifier_of(lm, multi_label=True)})
    choices = [{"value": "ham"}, {"value": "spam"}]

    def refused(question: Any, model: str = "spam") -> str:
        return post(server, "decisions", 400, model=model, input="x", questions=[question])["param"]

    assert refused({"type": "choice", "choices": [{"value": "ham"}, {"value": "eggs"}]}) == "questions.0.choices"
    assert refused({"type": "predicate", "name": "eggs"}) == "questions.0.name"
    assert "instructions" in refused({"type": "choice", "choices": choices, "instructions": "Is it spam?"})
    assert refused({"type": "choice", "choices": choices}, "both") == "questions.0.type"
    assert post(server, "decisions", 404, input="x", questions=[{"type": "predicate", "name": "ham"}])
    assert post(server, "decisions", model="both", input="x", questions=[{"type": "predicate", "name": "ham"}])


def test_decisions_are_there_with_a_classifier_only(server: TestClient, lm: LanguageModel) -> None:
    assert server.post("/v1/decisions", json={}).status_code == 404
    with pytest.raises(ConfigError, match="is no classifier"):
        make_app(lm, classifiers={"x": lm})
    with pytest.raises(ConfigError, match="two models are named"):
        make_app(lm, classifiers={"tutelage": classifier_of(lm)})


# -- what is refused


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("tokenize", {}, None), ("tokenize", {"prompt": "a", "messages": MESSAGES}, None),
        ("tokenize", {"prompt": 3}, "prompt"), ("tokenize", {"prompt": "a", "stream": True}, "stream"),
        ("tokenize", {"messages": MESSAGES, "add_special_tokens": False}, "add_special_tokens"),
        ("tokenize", {"messages": MESSAGES * 2}, "messages"), ("tokenize", {"messages": []}, "messages"),
        ("detokenize", {"tokens": [10**6]}, "tokens"), ("detokenize", {"tokens": [-1]}, "tokens.0"),
        ("detokenize", {"tokens": "a"}, "tokens"), ("apply-template", {"messages": MESSAGES * 2}, "messages"),
        ("apply-template", {"messages": MESSAGES, "tools": [1]}, "tools"),
        ("embeddings", {"input": ""}, "input"), ("embeddings", {"input": []}, "input"),
        ("embeddings", {"input": ["a", ""]}, "input"), ("embeddings", {"input": [[]]}, "input"),
        ("embeddings", {"input": ["a"] * 5}, "input"), ("embeddings", {"input": "x" * 500}, "input"),
        ("embeddings", {"input": ["x" * 90] * 4}, "input"),
        ("embeddings", {"input": [10**6]}, "input"), ("embeddings", {"input": "a", "dimensions": 7}, "dimensions"),
        ("embeddings", {"input": "a", "encoding_format": "int8"}, "encoding_format"),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_requests_are_refused_by_name(server: TestClient, path: str, fields: Any, param: str | None) -> None:
    error = post(server, path, 400, **fields)
    found = error["param"]
    assert found == param or ((found or "").startswith(f"{param}.") and param is not None)


def test_a_model_that_is_not_served_is_not_found(server: TestClient) -> None:
    fields: list[tuple[str, dict[str, Any]]] = [
        ("tokenize", {"prompt": "a"}), ("detokenize", {"tokens": []}), ("apply-template", {"messages": MESSAGES}),
        ("embeddings", {"input": "a"}),
    ]  # fmt: skip
    for path, more in fields:
        assert post(server, path, 404, **{**more, "model": "gpt-4"})["code"] == "model_not_found"


def test_a_failure_tells_nothing_and_the_next_is_served(
    server: TestClient, lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(LanguageModel, "prompt_ids", lambda *_: 1 / 0)
        assert post(server, "tokenize", 500, prompt="a")["message"] == "the server failed to do this"
    assert post(server, "tokenize", prompt="a")["count"] == 2
