"""POST /v1/trace: which spans of a text stand verbatim in the corpus, and in which documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request

from tutelage.inference.language_model import LanguageModel
from tutelage.pretraining.trace import Index, covered, trace
from tutelage.serving.body import read_body
from tutelage.serving.desk import Desk
from tutelage.serving.protocol import Limits, at_most, read, served_model
from tutelage.serving.text_protocol import TraceRequest

LEAST = 6  # words of a span


def add_trace_route(
    app: FastAPI, lms: Mapping[str, LanguageModel], indices: Sequence[Index], limits: Limits, desk: Desk
) -> None:
    """indices: of corpora, by the tokenizer that all these models have."""

    @app.post("/v1/trace")
    async def find(request: Request) -> dict[str, Any]:
        wanted = read(TraceRequest, await read_body(request, limits))
        lm = lms[served_model(wanted.model, lms)]
        at_most("input", len(wanted.input), limits.traced_chars, "characters")
        return await desk.do(lambda _: _traced(lm, wanted, indices), request.is_disconnected)


def _traced(lm: LanguageModel, wanted: TraceRequest, indices: Sequence[Index]) -> dict[str, Any]:
    """begin and end count characters, not UTF-16 units as JavaScript does."""
    least = wanted.least_words or LEAST
    spans = trace(wanted.input, indices, lm.tokenizer, least)
    share = covered(spans) / max(1, len(wanted.input))
    return {"model": wanted.model, "least_words": least, "share": share, "spans": [asdict(one) for one in spans]}
