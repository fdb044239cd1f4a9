"""/v1/translate: what the model was taught, as `LanguageModel.translate` gives it; documents by sentence."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tutelage.inference.language_model import LanguageModel
from tutelage.inference.sampling import Sampling
from tutelage.inference.search import Beam
from tutelage.serving.app import make_app
from tutelage.serving.protocol import Limits
from tutelage.tokenizer.translation import Translation, with_translation

TAUGHT = Translation("{source} to {target}: {text}", "English", "German", both=True)


@pytest.fixture(scope="module")
def translator(lm: LanguageModel) -> LanguageModel:
    return LanguageModel(lm.model, with_translation(lm.tokenizer, TAUGHT))


@pytest.fixture
def server(translator: LanguageModel) -> TestClient:
    app = make_app(translator, limits=Limits(texts=5, choices=3, max_tokens=50, input_tokens=400))
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


def post(server: TestClient, status: int = 200, **fields: Any) -> Any:
    answer = server.post("/v1/translate", json={"model": "tutelage", **fields})
    assert answer.status_code == status, answer.text
    return answer.json() if status == 200 else answer.json()["error"]


def test_texts_are_translated_as_from_python(server: TestClient, translator: LanguageModel) -> None:
    texts = ["A dog.", "Rain"]
    made = post(server, input=texts, max_tokens=9)
    expected = translator.translate(texts, None, Sampling(max_tokens=9))
    assert [one["text"] for one in made["data"]] == [one.text for one in expected]
    assert [one["finish_reason"] for one in made["data"]] == [one.stop_reason for one in expected]
    assert made["usage"]["completion_tokens"] == sum(len(one.ids) for one in expected)
    assert made["usage"]["prompt_tokens"] == sum(map(len, translator.translation_prompts(texts)))
    alone = post(server, input=texts[1], max_tokens=9)
    assert [one["text"] for one in alone["data"]] == [expected[1].text]
    read = made["usage"]["prompt_tokens"] + alone["usage"]["prompt_tokens"]
    assert f'tutelage_tokens_total{{kind="prompt"}} {read}' in server.get("/metrics").text


def test_the_language_the_beams_and_the_penalty_act(server: TestClient, translator: LanguageModel) -> None:
    back = translator.translate(["Hund"], "english", Sampling(max_tokens=7))[0].text
    assert post(server, input="Hund", target="English", max_tokens=7)["data"][0]["text"] == back
    for penalty in (-2.0, 2.0):
        found = translator.translate(["Rain"], None, Beam(3, 8, penalty))[0].text
        made = post(server, input="Rain", beams=3, max_tokens=8, length_penalty=penalty)
        assert made["data"][0]["text"] == found


def test_a_document_is_translated_sentence_by_sentence_and_keeps_its_lines(
    server: TestClient, translator: LanguageModel
) -> None:
    made = post(server, input="One dog. Two cats.\n\nRain.", split=True, max_tokens=5)["data"][0]
    one, two, three = (one.text.strip() for one in translator.translate(
        ["One dog.", "Two cats.", "Rain."], None, Sampling(max_tokens=5)))  # fmt: skip
    assert made["text"] == f"{one} {two}\n\n{three}" and made["finish_reason"] == "length"
    assert post(server, input="\n", split=True)["data"][0]["text"] == "\n"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"input": "x", "target": "Greek"}, "Greek"), ({"input": []}, "input"), ({"input": [""]}, "input"),
        ({"input": ["x"] * 6}, "5"), ({"input": "A b. " * 6, "split": True}, "5"), ({"input": "x", "beams": 4}, "3"),
        ({"input": "x", "length_penalty": 1.0}, "beams"), ({"input": "x", "max_tokens": 51}, "50"),
        ({"input": "x", "temperature": 1}, "temperature"), ({"input": "x" * 90}, "context"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_by_name(server: TestClient, fields: Any, named: str) -> None:
    assert named in post(server, 400, **fields)["message"]


def test_a_model_that_was_not_taught_says_so(lm: LanguageModel) -> None:
    server = TestClient(make_app(lm), base_url="http://127.0.0.1")
    assert "not trained for translation" in post(server, 400, input="x")["message"]
