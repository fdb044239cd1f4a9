"""The description of the API (OpenAPI 3.1), made from the request models themselves: it cannot say anything else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from tutelage.serving.completion_protocol import CompletionRequest
from tutelage.serving.protocol import ChatRequest, Limits
from tutelage.serving.response_protocol import ResponsesRequest
from tutelage.serving.strict import Strict
from tutelage.serving.text_protocol import (
    DecisionRequest,
    DetokenizeRequest,
    EmbeddingRequest,
    TemplateRequest,
    TokenizeRequest,
    TraceRequest,
    TranslationRequest,
)

BODIES: dict[str, type[Strict]] = {
    "/v1/chat/completions": ChatRequest,
    "/v1/completions": CompletionRequest,
    "/v1/responses": ResponsesRequest,
    "/v1/tokenize": TokenizeRequest,
    "/v1/detokenize": DetokenizeRequest,
    "/v1/apply-template": TemplateRequest,
    "/v1/embeddings": EmbeddingRequest,
    "/v1/translate": TranslationRequest,
    "/v1/trace": TraceRequest,
    "/v1/decisions": DecisionRequest,
}
WORDS = {
    "/health": "Whether the process answers. Open to all.",
    "/ready": "Whether the model makes a token.",
    "/metrics": "Counters in Prometheus' text format.",
    "/openapi.json": "This document.",
    "/": "The chat page.",
    "/v1/models": "What is served.",
    "/v1/models/{name}": "One of what is served.",
}
KINDS = {"/metrics": "text/plain", "/": "text/html"}
STREAMED = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/responses"})
_LIMITED = {
    "n": ("maximum", "integer", "choices"),
    "best_of": ("maximum", "integer", "choices"),
    "beams": ("maximum", "integer", "choices"),
    "messages": ("maxItems", "array", "messages"),
    "stop": ("maxItems", "array", "stop_strings"),
}
"""Bound of a field: its word in a JSON schema, the type that it bounds, and its name among the limits."""
_LONGEST = ("max_tokens", "max_completion_tokens", "max_output_tokens")
# Statuses of errors: those of every request, and those of one with a body.
ALWAYS = (400, 401, 403, 404, 405, 408, 500, 503)
WITH_BODY = (413, 415, 429, 499, 504)


class Served(NamedTuple):
    """What a server has: names of its models, classifiers with their labels, and its limits."""

    models: Sequence[str]
    classifiers: Mapping[str, Sequence[str]]
    limits: Limits


def document(app: FastAPI, served: Served) -> dict[str, Any]:
    """The document of all routes of the application. A route that has no words here is an error of ours: KeyError."""
    routes = [route for route in app.routes if isinstance(route, APIRoute)]
    kinds = sorted({BODIES[route.path] for route in routes if route.path in BODIES}, key=lambda kind: kind.__name__)
    _, schemas = models_json_schema(
        [(kind, "validation") for kind in kinds], ref_template="#/components/schemas/{model}"
    )
    for kind in kinds:
        properties = schemas["$defs"][kind.__name__]["properties"]
        _narrow(properties, _names(kind, served), served.limits)
        _longest(properties, kind, served.limits)
    if served.classifiers:
        labels = {"enum": list(dict.fromkeys(one for known in served.classifiers.values() for one in known))}
        schemas["$defs"]["PredicateQuestion"]["properties"]["name"] = labels
        schemas["$defs"]["ChoiceOption"]["properties"]["value"] = labels
    paths: dict[str, Any] = {}
    for route in routes:
        for method in sorted(route.methods or ()):
            paths.setdefault(route.path, {})[method.lower()] = _operation(route.path, method, served)
    return {
        "openapi": "3.1.0",
        "info": {"title": "tutelage", "version": version("tutelage")},
        "paths": paths,
        "security": [{"key": []}],
        "components": {
            "schemas": {**schemas["$defs"], "Error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _names(kind: type[Strict], served: Served) -> Sequence[str]:
    return [*served.classifiers] if kind is DecisionRequest else served.models


def _narrow(properties: dict[str, Any], names: Sequence[str], limits: Limits) -> None:
    """What these fields may hold at this server: the names of what it serves, and as much as it allows."""
    properties["model"] = {"enum": [*names]}
    for name, (bound, kind, limit) in _LIMITED.items():
        schema = properties.get(name, {})
        for one in (schema, *schema.get("anyOf", ())):
            if one.get("type") == kind:
                one[bound] = min(one.get(bound, math.inf), getattr(limits, limit))
    for one in properties.get("prompt", {}).get("anyOf", ()):
        if one.get("items", {}).get("type") in ("string", "array"):  # of several, not of ids
            one["maxItems"] = limits.prompts


def _longest(properties: dict[str, Any], kind: type[Strict], limits: Limits) -> None:
    """How many tokens an answer may have. Of a prompt that nearly fills the context more may be asked for."""
    for name in _LONGEST:
        for one in properties.get(name, {}).get("anyOf", ()):
            if kind is TranslationRequest and one.get("type") == "integer":
                one["maximum"] = limits.max_tokens
        if name in properties and kind is not TranslationRequest:
            said = properties[name].get("description", "Longest answer, in tokens.")
            allowed = f"More than {limits.max_tokens} only where the context ends before that."
            properties[name]["description"] = f"{said} {allowed}"


def _operation(path: str, method: str, served: Served) -> dict[str, Any]:
    body = BODIES.get(path) if method == "POST" else None
    content: dict[str, Any] = {KINDS.get(path, "application/json"): {}}
    if path in STREAMED:
        content["text/event-stream"] = {}
    failed = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    statuses = ALWAYS + (WITH_BODY if body else ())
    made: dict[str, Any] = {
        "summary": (body.__doc__ or "").split("\n\n")[0].replace("\n    ", " ") if body else WORDS[path],
        "responses": {
            "200": {"description": "Done.", "content": content},
            **{str(status): {"description": "Refused or failed.", "content": failed} for status in statuses},
        },
    }
    if path == "/health":
        made["security"] = []
    if "{name}" in path:
        made["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": {"enum": [*served.models]}}]
    if body:
        schema = {"$ref": f"#/components/schemas/{body.__name__}"}
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return made


_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
