"""The routes about the server itself: /ready, /metrics, /openapi.json."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.responses import Response

from tutelage.inference.language_model import LanguageModel
from tutelage.serving.faults import ApiError
from tutelage.serving.metrics import Metrics, exposition
from tutelage.serving.openapi import Served, document
from tutelage.serving.workers import Place

logger = logging.getLogger(__name__)
PATIENCE = 10.0  # seconds in which a token must be made
FRESH = 1.0  # seconds for which it is believed that a model which made a token still makes one


def add_state_routes(
    app: FastAPI,
    lms: Mapping[str, LanguageModel],
    metrics: Metrics,
    one_token: Callable[[str, float], Awaitable[None]],
    served: Served,
    place: Place | None = None,
) -> None:
    """`one_token`: returns if a model has made a token within so many seconds, else raises. place: of one of several
    workers, any of which tells the counters of all."""
    made_at = dict.fromkeys(lms, -FRESH)

    @app.get("/ready")
    async def ready() -> dict[str, Any]:
        for name in lms:
            if time.monotonic() - made_at[name] >= FRESH:
                try:
                    await one_token(name, PATIENCE)
                except Exception as error:
                    logger.warning("model %r made no token: %r", name, error)
                    raise ApiError(503, f"model {name!r} makes no token", code="not_ready") from None
                made_at[name] = time.monotonic()
        return {"status": "ready", "models": [*lms]}

    @app.get("/metrics")
    async def counters() -> Response:
        for name, lm in lms.items():
            if lm.speculation is not None:
                for kind in ("drafted", "accepted"):
                    labels = f'{{model="{name}",kind="{kind}"}}'
                    metrics.set("tutelage_drafts_total", labels, getattr(lm.speculation, kind))
        text = metrics.text() if place is None else exposition(place.gathered(metrics))
        return Response(text, media_type="text/plain; version=0.0.4")

    described = cache(lambda: document(app, served))

    @app.get("/openapi.json")
    async def description() -> dict[str, Any]:
        return described()
