"""The shapes of answers: whole ones, steps of a stream, usage, server-sent events. Plain data."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
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
    chat: bool,
    index: int,
    text: str,
    finish_reason: str,
    logprobs: list[dict[str, Any]] | None,
    calls: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """One whole answer. calls: the tools it calls; with some and no text the content is null."""
    content: dict[str, Any] = {"text": text}
    if chat:
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        content = {"message": message | ({"content": text or None, "tool_calls": list(calls)} if calls else {})}
    return {"index": index, **content, "logprobs": _logprobs(chat, logprobs), "finish_reason": finish_reason}


def delta(
    chat: bool,
    index: int,
    text: str | None,
    finish_reason: str | None = None,
    logprobs: list[dict[str, Any]] | None = None,
    first: bool = False,
    call: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """One step of a streamed answer. text None: no text; call: a piece of a call."""
    content: dict[str, Any]
    if chat:
        role = {"role": "assistant"} if first else {}
        called = {} if call is None else {"tool_calls": [call]}
        content = {"delta": role | ({} if text is None else {"content": text}) | called}
    else:
        content = {"text": text or ""}
    return {"index": index, **content, "logprobs": _logprobs(chat, logprobs), "finish_reason": finish_reason}


def usage(prompt_tokens: int, completion_tokens: int, kept: int) -> dict[str, Any]:
    """kept: tokens of the prompt that had been read for an earlier one."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": kept},
    }


def event(data: dict[str, Any] | str) -> bytes:
    """One server-sent event. ASCII only: some clients take U+2028 for the end of a line."""
    text = data if isinstance(data, str) else json.dumps(data, allow_nan=False)
    return f"data: {text}\n\n".encode("ascii")


def token_logprobs(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tokens with their log-probabilities and alternatives, as chat completions and responses have them."""
    return [{key: one[key] for key in one if key != "text_offset"} for one in entries]


def _logprobs(chat: bool, entries: list[dict[str, Any]] | None) -> dict[str, Any] | None:
    """Of a chat a list of tokens, of a plain completion lists beside each other: `text_offset` counts characters."""
    if entries is None:
        return None
    if chat:
        return {"content": token_logprobs(entries), "refusal": None}
    return {
        "tokens": [_named(one) for one in entries],
        "token_logprobs": [one["logprob"] for one in entries],
        "top_logprobs": [_alternatives(one) for one in entries],
        "text_offset": [one["text_offset"] for one in entries],
    }


def _alternatives(entry: Mapping[str, Any]) -> dict[str, float] | None:
    """Log-probabilities by token, its own among them; None of a token that nothing stands before."""
    if entry["logprob"] is None:
        return None
    found: dict[str, float] = {}
    for one in (entry, *entry["top_logprobs"]):
        name = _named(one)  # of tokens that are spelled alike the likeliest counts
        found[name] = max(one["logprob"], found.get(name, one["logprob"]))
    return found


def _named(entry: Mapping[str, Any]) -> str:
    """A token by its text; where that is no whole character by its bytes, so that two such tokens have two names."""
    try:
        bytes(entry["bytes"]).decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in entry["bytes"])
    return str(entry["token"])
