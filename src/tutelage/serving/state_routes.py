"""The routes about the server itself: /ready, /metrics, /openapi.json."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.responses import Response

from tutelage.inference.language_model import LanguageModel
from tutelage.inference.sampling import Sampling
from tutelage.serving.desk import Desk
from tutelage.serving.metrics import Metrics
from tutelage.serving.openapi import document
from tutelage.serving.protocol import ApiError

FRESH = 1.0  # seconds for which it is believed that a model which made a token still makes one


def add_state_routes(app: FastAPI, lms: Mapping[str, LanguageModel], metrics: Metrics, desk: Desk) -> None:
    made_at = dict.fromkeys(lms, -FRESH)

    @app.get("/ready")
    async def ready() -> dict[str, Any]:
        for name, lm in lms.items():
            if time.monotonic() - made_at[name] >= FRESH:
                try:
                    await desk.do(lambda _, lm=lm: _one_token(lm))  # type: ignore[misc]
                except ApiError as error:
                    raise ApiError(503, f"model {name!r} makes no token: {error}", code="not_ready") from None
                made_at[name] = time.monotonic()
        return {"status": "ready", "models": [*lms]}

    @app.get("/metrics")
    async def counters() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    described = cache(lambda: document(app))

    @app.get("/openapi.json")
    async def description() -> dict[str, Any]:
        return described()


def _one_token(lm: LanguageModel) -> None:
    made = lm.generate([[lm.tokenizer.start_id]], Sampling(max_tokens=1))
    if len(made[0].ids) != 1:
        raise RuntimeError("no token came")
