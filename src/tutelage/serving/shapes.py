"""The shapes of answers: whole ones, steps of a stream, usage, server-sent events. Plain data."""

from __future__ import annotations

import json
import secrets
import time
from typing import Any


def answer_head(chat: bool, streamed: bool, model_name: str) -> dict[str, Any]:
    """What every answer and every event of a stream begins with."""
    if chat:
        kind = "chat.completion.chunk" if streamed else "chat.completion"
    else:
        kind = "text_completion"
    prefix = "chatcmpl-" if chat else "cmpl-"
    return {"id": prefix + secrets.token_hex(12), "object": kind, "created": int(time.time()), "model": model_name}


def choice(
    chat: bool, index: int, text: str, finish_reason: str, logprobs: list[dict[str, Any]] | None
) -> dict[str, Any]:
    """One whole answer."""
    content: dict[str, Any] = (
        {"message": {"role": "assistant", "content": text, "refusal": None}} if chat else {"text": text}
    )
    return {"index": index, **content, "logprobs": _logprobs(logprobs), "finish_reason": finish_reason}


def delta(
    chat: bool,
    index: int,
    text: str | None,
    finish_reason: str | None = None,
    logprobs: list[dict[str, Any]] | None = None,
    first: bool = False,
) -> dict[str, Any]:
    """One step of a streamed answer. text None: nothing but the reason of the end."""
    content: dict[str, Any]
    if chat:
        role = {"role": "assistant"} if first else {}
        content = {"delta": role | ({} if text is None else {"content": text})}
    else:
        content = {"text": text or ""}
    return {"index": index, **content, "logprobs": _logprobs(logprobs), "finish_reason": finish_reason}


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def event(data: dict[str, Any] | str) -> bytes:
    """One server-sent event. ASCII only: some clients take U+2028 for the end of a line."""
    text = data if isinstance(data, str) else json.dumps(data, allow_nan=False)
    return f"data: {text}\n\n".encode("ascii")


def _logprobs(entries: list[dict[str, Any]] | None) -> dict[str, Any] | None:
    return None if entries is None else {"content": entries, "refusal": None}
