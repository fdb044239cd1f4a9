"""Schemathesis on our own OpenAPI document: whatever is sent, the server does not fail, and answers as it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from served import classifier_of, indexed

from tutelage.inference.language_model import LanguageModel
from tutelage.serving.app import make_app
from tutelage.serving.openapi import BODIES, WORDS
from tutelage.serving.protocol import Limits
from tutelage.tokenizer.translation import Translation, with_translation

KEY = {"Authorization": "Bearer key"}
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
@pytest.mark.parametrize("path", [*BODIES, *WORDS])
def test_no_request_makes_the_server_fail(
    path: str, mode: schemathesis.GenerationMode, lm: LanguageModel, tmp_path: Path
) -> None:
    limits = Limits(max_tokens=4, seconds=20)
    taught = LanguageModel(lm.model, with_translation(lm.tokenizer, Translation("{text}")))
    more: Any = {"classifiers": {"spam": classifier_of(lm)}, "traced": [indexed(tmp_path, ["a text"], lm.tokenizer)]}
    app = make_app(taught, "tiny", api_key="key", limits=limits, **more)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=KEY)
    method = "POST" if path in BODIES else "GET"
    strategy = schema[path][method].as_strategy(generation_mode=mode)
    reached = set()

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def ask(case: schemathesis.Case) -> None:
        if isinstance(case.body, dict) and len(str(case.body)) % 3:  # most bodies name a model that is there
            case.body["model"] = "spam" if path == "/v1/decisions" else "tiny"
            if path == "/v1/decisions" and len(str(case.body)) % 2:
                case.body["questions"] = [{"type": "predicate", "name": "ham"}]
        reached.add(case.call_and_validate(headers=KEY, checks=CHECKS).status_code)

    try:
        ask()
    except Exception as error:
        if "Unsatisfiable" in type(error).__name__:  # a route without parameters has no wrong requests
            assert path not in BODIES
            return
        raise
    if mode == schemathesis.GenerationMode.POSITIVE:
        assert 200 in reached or path == "/v1/models/{name}", reached
