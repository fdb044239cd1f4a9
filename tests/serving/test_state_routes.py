"""/ready, /metrics and /openapi.json: they say what is so."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tutelage.inference.language_model import LanguageModel
from tutelage.serving import state_routes
from tutelage.serving.app import make_app
from tutelage.serving.openapi import BODIES
from tutelage.serving.protocol import Limits
from tutelage.serving.worker import Worker

CHAT = "/v1/chat/completions"


def client(lm: LanguageModel, **options: Any) -> TestClient:
    app = make_app(lm, "tiny", **options)
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


def test_ready_makes_a_token_and_believes_it_for_a_moment(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    one_token = Worker.one_token
    monkeypatch.setattr(Worker, "one_token", lambda *given: made.append(1) or one_token(*given))
    server = client(lm)
    for _ in range(3):
        assert server.get("/ready").json() == {"status": "ready", "models": ["tiny"]}
    assert len(made) == 1
    monkeypatch.setattr(state_routes, "FRESH", 0.0)
    assert server.get("/ready").status_code == 200 and len(made) == 2


def test_a_model_that_makes_no_token_is_not_ready(slow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_routes, "FRESH", 0.0)
    slow.fail = True
    server = client(slow)
    response = server.get("/ready")
    assert response.status_code == 503 and response.json()["error"]["code"] == "not_ready"
    assert "secret" not in response.text and server.get("/health").status_code == 200


def counted(server: TestClient) -> dict[str, float]:
    response = server.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = [line.rsplit(" ", 1) for line in response.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


@pytest.mark.parametrize("stream", [False, True])
def test_requests_and_tokens_are_counted(lm: LanguageModel, stream: bool) -> None:
    server = client(lm)
    messages = [{"role": "user", "content": "why?"}]
    fields = {"model": "tiny", "messages": messages, "max_tokens": 7, "n": 2, "seed": 1}
    usage = server.post(CHAT, json=fields).json()["usage"]
    server.post(CHAT, json={**fields, "stream": stream})
    server.post(CHAT, json={})
    for path in ("/a", "/b"):
        server.get(path)
    found = counted(server)
    assert found[f'tutelage_requests_total{{route="{CHAT}",status="200"}}'] == 2
    assert found[f'tutelage_requests_total{{route="{CHAT}",status="400"}}'] == 1
    assert found['tutelage_requests_total{route="none",status="404"}'] == 2
    assert found['tutelage_tokens_total{kind="prompt"}'] == 2 * usage["prompt_tokens"]
    assert found['tutelage_tokens_total{kind="completion"}'] == 2 * usage["completion_tokens"]
    assert found["tutelage_requests_in_flight"] == 1  # the one that asks
    assert found[f'tutelage_request_seconds_total{{route="{CHAT}"}}'] > 0


def test_who_is_refused_is_counted_too(lm: LanguageModel) -> None:
    server = client(lm, api_key="key")
    server.get("/v1/models")
    server.headers["authorization"] = "Bearer key"
    assert counted(server)['tutelage_requests_total{route="none",status="401"}'] == 1


def test_the_document_describes_every_route(lm: LanguageModel, classifier: LanguageModel) -> None:
    server = client(lm, classifiers={"spam": classifier}, traced=["none that is asked"])
    made = server.get("/openapi.json").json()
    routes = {route.path for route in server.app.routes}  # type: ignore[attr-defined]
    assert set(made["paths"]) == routes and set(BODIES) <= routes
    schema = made["components"]["schemas"]["ChatRequest"]
    assert schema["additionalProperties"] is False and "temperature" in schema["properties"]
    assert schema["properties"]["functions"]["description"].startswith("Asks for nothing")
    assert "/v1/decisions" not in client(lm).get("/openapi.json").json()["paths"]


def test_the_document_says_what_this_server_has_and_allows(lm: LanguageModel, classifier: LanguageModel) -> None:
    limits = Limits(max_tokens=7, choices=3, stop_strings=2)
    server = client(lm, classifiers={"spam": classifier}, limits=limits)
    schemas = server.get("/openapi.json").json()["components"]["schemas"]
    chat = schemas["ChatRequest"]["properties"]
    assert chat["model"] == {"enum": ["tiny"]} and schemas["DecisionRequest"]["properties"]["model"] == {
        "enum": ["spam"]
    }
    assert schemas["PredicateQuestion"]["properties"]["name"] == {"enum": ["ham", "spam"]}
    assert chat["n"]["anyOf"][0]["maximum"] == 3
    for name in ("max_tokens", "max_completion_tokens"):  # more can be kept to where the context ends before that
        assert "maximum" not in chat[name]["anyOf"][0] and "More than 7 only where" in chat[name]["description"]
    assert [one.get("maxItems") for one in chat["stop"]["anyOf"]] == [None, 2, None]
    assert chat["messages"]["maxItems"] == limits.messages
    # Another server says otherwise.
    assert "spam" not in str(client(lm).get("/openapi.json").json())


def test_the_limits_are_those_of_the_application(lm: LanguageModel) -> None:
    server = client(lm, limits=Limits(body_bytes=10), traced=["none that is asked"])
    for path in BODIES:
        if path != "/v1/decisions":
            assert server.post(path, json={"model": "tiny"}).status_code == 413, path
