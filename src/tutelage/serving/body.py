"""The body of a request: JSON, whole, in time and not too long."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from tutelage.serving.faults import ApiError
from tutelage.serving.protocol import Limits


async def read_body(request: Request, limits: Limits) -> bytes:
    """The body of a JSON request, no longer than allowed. The declared length is not believed but checked first."""
    # A page elsewhere can make a browser send anything but JSON without asking (CORS).
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "the Content-Type must be application/json")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise ApiError(415, "the body must come as it is, without a Content-Encoding")
    too_long = ApiError(413, f"the body may have {limits.body_bytes} bytes at most")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limits.body_bytes:
        raise too_long
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for part in request.stream():
                body += part
                if len(body) > limits.body_bytes:
                    raise too_long
    except TimeoutError:
        raise ApiError(408, f"the body did not arrive within {limits.body_seconds:g} seconds") from None
    return bytes(body)
