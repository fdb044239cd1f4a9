"""Tools in a conversation: what the template writes of them, and where an answer that calls one begins.

The template writes definitions and calls itself, as JSON or in a form of its own, so that they are its text and are
encoded as such. What they hold comes from others: where it spells a token's name, the conversation is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tutelage.store.errors import InputError
from tutelage.tokenizer.messages import Message
from tutelage.tokenizer.vocabulary import Vocabulary

Tools = Sequence[Mapping[str, Any]]

_PRIVATE = re.compile("[\ue000-\ue0ff]")
_HINT = "a model whose chat template writes tools is needed (Qwen 2.5 and later, Llama 3.1, Mistral), or one given"


class Shown(Protocol):
    """A conversation and how its template shows it."""

    @property
    def messages(self) -> Sequence[Message]: ...
    @property
    def marks(self) -> list[str]: ...
    def text(self, texts: Sequence[str], turns: int | None = None) -> str: ...


def refuse_control_names(tok: Vocabulary, messages: Sequence[Message], tools: Tools | None) -> None:
    """Raise InputError where a definition, a call, or a name beside a message spells the name of a token, which the
    template would make of it."""
    told = [part for one in messages for part in (*one.tool_calls, one.tool_call_id, one.name) if part]
    held = [*(tools or ()), *told]
    if not held:
        return
    try:
        text = json.dumps(held, ensure_ascii=False)
    except (TypeError, ValueError):
        raise InputError("a tool or a tool call holds what JSON cannot") from None
    if _PRIVATE.search(text):
        raise InputError("a tool, a tool call or a name holds private-use characters")
    for name in tok.added_names:
        if name.strip() and name in text:
            raise InputError(f"a tool, a tool call or a name holds {name!r}, which is the name of a token")


def refuse_unwritten(messages: Sequence[Message], tools: Tools | None, text: str) -> None:
    """Raise InputError where the rendering does not name every tool and every call."""
    calls = [call for message in messages for call in message.tool_calls]
    for kind, held in (("tools", tools or ()), ("tool calls", calls)):
        if any(name_of(one) not in text for one in held):
            raise InputError(f"the chat template knows no {kind}: it does not write them", hint=_HINT)


def name_of(tool: Mapping[str, Any]) -> str:
    """The name of the function of a definition or a call."""
    inner = tool.get("function", tool)
    return str(inner.get("name", "")) if isinstance(inner, Mapping) else ""


def call_places(show: Shown, pieces: Sequence[str], order: Sequence[int]) -> dict[int, list[tuple[int, int]]]:
    """Where answers with tool calls begin: piece -> [(place in it, message)].

    An answer begins where the prompt before it ends. Raises InputError where the template writes the turns before a
    call otherwise than as a prompt: then it cannot be told.
    """
    marks = show.marks
    found: dict[int, list[tuple[int, int]]] = {}
    if not any(message.tool_calls for message in show.messages):
        return found
    whole = show.text(marks)
    for index, message in enumerate(show.messages):
        if not message.tool_calls:
            continue
        before = show.text(marks, index)
        # White space that the template writes after the prompt only where a text follows is the call's.
        if not whole.startswith(before):
            before = before.rstrip()
        if not before or not whole.startswith(before):
            raise InputError("the chat template writes the turns before a tool call otherwise than as a prompt")
        place = len(before)
        for number, piece in enumerate(pieces):
            if place <= len(piece):
                found.setdefault(number, []).append((place, index))
                break
            place -= len(piece) + (len(marks[order[number]]) if number < len(order) else 0)
            if place < 0:
                raise InputError("the chat template begins a tool call within a message")
    return found
