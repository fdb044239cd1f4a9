"""How a model's own chat template writes a call of a tool, found by letting it write two that are known."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from tutelage.store.errors import InputError
from tutelage.tokenizer.chat import render_chat
from tutelage.tokenizer.messages import Message
from tutelage.tokenizer.vocabulary import Vocabulary

_NAMES, _IDS = ("probed_first", "probed_second"), ("probe1abc", "probe2abc")  # ids of nine characters: Mistral's
_ARGUMENTS = {"probed_key": "probed_value"}
_WRITTEN = re.compile(r'\{\s*"probed_key"\s*:\s*"probed_value"\s*\}')
ID = "\x00"  # placeholder for the id of a call


@dataclass(frozen=True)
class CallForm:
    """An answer that calls tools is `open`, the name of one, `middle`, its arguments as a JSON object, `close`; several
    calls have `between` for the close of one and the open of the next (None where the template writes one call only).

    `ID` in these texts is a placeholder for a call's id. control: ids of the control tokens whose names are in them.
    """

    open: str
    middle: str
    close: str
    between: str | None
    control: frozenset[int]

    @property
    def lead(self) -> str:
        """What an answer says first of a call, as far as it has no white space; after it comes no more than the rest
        of `open`."""
        return self.open.split()[0]


def call_form(tok: Vocabulary) -> CallForm:
    """Raises InputError where the template writes no tools, or calls otherwise than by a name and then a JSON object
    after something that tells them from text."""
    opened, middle, close = _parts(_written(tok, 1))
    if not opened.strip():
        raise InputError(
            "the chat template writes nothing before the name of a tool, so a call cannot be told from text"
        )
    between: str | None
    try:
        between, _, _ = _parts(_written(tok, 2))[2].partition(_NAMES[1])
    except InputError:  # one call in an answer
        between = None
    texts = (opened, middle, close, between or "")
    control = {index for index in tok.control_ids if any(tok.id_to_token(index) in text for text in texts)}
    return CallForm(opened, middle, close, between, frozenset(control))


def _written(tok: Vocabulary, count: int) -> str:
    """What the template makes an answer say that calls so many tools."""
    tools: list[dict[str, Any]] = [
        {"type": "function", "function": {"name": name, "description": "", "parameters": {"type": "object"}}}
        for name in _NAMES
    ]
    calls = [
        {"type": "function", "id": identity, "function": {"name": name, "arguments": _ARGUMENTS}}
        for name, identity in zip(_NAMES, _IDS, strict=True)
    ]
    asked = [Message("user", "?"), Message("assistant", "", tuple(calls[:count]))]
    rendered = render_chat(tok, asked, tools=tools)
    said = rendered.spans[-1]
    text = tok.decode(rendered.ids[said.start : said.end], skip_special=False)
    for identity in _IDS:
        text = text.replace(identity, ID)
    return text


def _place(text: str) -> tuple[int, int]:
    """Start and end of the arguments of the first call."""
    found = _WRITTEN.search(text)
    if found is None or _NAMES[0] not in text[: found.start()]:
        raise InputError("the chat template does not write tool calls as a name with its arguments as a JSON object")
    return found.span()


def _parts(text: str) -> tuple[str, str, str]:
    """Text before the name of the only call, between name and arguments, and after the arguments."""
    start, end = _place(text)
    opened, _, middle = text[:start].rpartition(_NAMES[0])
    return opened, middle, text[end:]


def arguments_of(text: str) -> dict[str, Any]:
    """Arguments as a template reads them, from the JSON text that a client sends. Raises InputError for no object."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(f"the arguments of a tool call are no JSON: {error}") from None
    if not isinstance(found, dict):
        raise InputError("the arguments of a tool call must be a JSON object")
    return found
