"""Tool calls in an answer: the grammar that constrains them, and an incremental parser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tutelage.inference.constraint import JSON_OPTIONS, NAMED, Constraint
from tutelage.inference.text import overlap
from tutelage.tokenizer.call_form import ID, CallForm
from tutelage.tokenizer.vocabulary import Vocabulary

_JSON = {"x-guidance": JSON_OPTIONS}
_NAME, _ID = r"([\w.-]{1,64})", r"[\w-]{1,64}"


def calls_constraint(
    form: CallForm, tok: Vocabulary, tools: Mapping[str, Mapping[str, Any]], how: Literal["auto", "required"], one: bool
) -> Constraint:
    """Constraint for an answer with tool calls (name -> JSON schema of the arguments) whose arguments match the schema;
    with "auto", text before the calls or text alone is allowed. one: exactly one call."""
    names = list(tools)
    called = " | ".join(f"{_literal(name, tok)} {_literal(form.middle, tok)} a{at}" for at, name in enumerate(names))
    more = f" ({_literal(form.between, tok)} called)*" if form.between and not one else ""
    lines = [
        f"calls: {_literal(form.open, tok)} called{more} {_literal(form.close, tok)}",
        f"called: {called}",
        *(f"a{at}: %json {json.dumps({**tools[name], **_JSON, NAMED: name})}" for at, name in enumerate(names)),
    ]
    if how == "required":
        return Constraint.grammar("\n".join(["start: calls", *lines]))
    text = "TEXT: /(?s:.*)/"
    if not any(tok.id_to_token(index) in form.lead for index in form.control):
        text += f" & ~/(?s:.*){_escaped(form.lead)}(?s:.*)/"
    return Constraint.grammar("\n".join(["start: TEXT calls?", text, *lines]))


def _literal(text: str, tok: Vocabulary) -> str:
    """A literal of the template in Lark's notation: control tokens by id, call ids as any id of that form."""
    names = {tok.id_to_token(index): f"<[{index}]>" for index in tok.control_ids}
    parts = re.split(f"({'|'.join(map(re.escape, [ID, *sorted(names, key=len, reverse=True)]))})", text)
    said = [names.get(part) or ("/[A-Za-z0-9]{9}/" if part == ID else json.dumps(part)) for part in parts if part]
    return " ".join(said)


def _escaped(text: str) -> str:
    return re.escape(text).replace("/", r"\/")


@dataclass(frozen=True)
class CallStep:
    """A piece of call `index` of an answer: first its name, then pieces of the JSON text of its arguments."""

    index: int
    name: str | None
    arguments: str = ""


class CallReader:
    """Incremental parser of text and tool calls in a growing answer. Calls must name a known tool and follow the
    template, except for white space; everything else is text. Text is held back while it may be the start of a call,
    and white space before and between calls is dropped."""

    def __init__(self, form: CallForm, names: Sequence[str]) -> None:
        self._names, self._lead = frozenset(names), form.lead
        after_name = [_NAME, *_pieces(form.middle), r"\s*"]
        self._open = _Part([*_pieces(form.open), *after_name], r"(?=\{)")
        self._between = _Part([*_pieces(form.between), *after_name], r"(?=\{)") if form.between else None
        self._close = _Part(_pieces(form.close))
        self._held, self._blank, self.count = "", "", 0
        self._object = _Object()
        self._state: Callable[[bool], list[str | CallStep] | None] = self._in_text

    def feed(self, text: str) -> list[str | CallStep]:
        """Add text; return the pieces that are now certain."""
        return self._read(text, ends=False)

    def close(self) -> list[str | CallStep]:
        """End of the answer: return the text that was held back."""
        said = self._read("", ends=True)
        return [*said, self._blank] if self._blank and not self.count else said

    def _read(self, text: str, ends: bool) -> list[str | CallStep]:
        self._held += text
        said: list[str | CallStep] = []
        while (made := self._state(ends)) is not None:
            said += made
        return said

    # Each state returns what is certain; None: more text is required.

    def _in_text(self, ends: bool) -> list[str | CallStep] | None:
        at = self._held.find(self._lead)
        if at < 0:
            keep = 0 if ends else overlap(self._held, self._lead)
            return self._said(len(self._held) - keep)
        if at:
            return self._said(at)
        found = self._open.whole.match(self._held)
        if found is not None and found[1] in self._names:
            return self._called(found)
        if found is None and not ends and self._open.begun.fullmatch(self._held):
            return None
        return self._said(len(self._lead))

    def _said(self, count: int) -> list[str | CallStep] | None:
        """Emit this many characters as text."""
        if not count:
            return None
        text, self._held = self._blank + self._held[:count], self._held[count:]
        shown = text.rstrip()
        self._blank = text[len(shown) :]
        return [shown] if shown else []

    def _called(self, found: re.Match[str]) -> list[str | CallStep]:
        self._held, self._blank = self._held[found.end() :], ""
        self._object, self._state = _Object(), self._in_arguments
        self.count += 1
        return [CallStep(self.count - 1, found[1])]

    def _in_arguments(self, ends: bool) -> list[str | CallStep] | None:
        if not self._held:
            return None
        end = self._object.end(self._held)
        piece, self._held = self._held[:end], self._held[end:]
        if self._object.whole:
            self._state = self._after_arguments
        return [CallStep(self.count - 1, None, piece)]

    def _after_arguments(self, ends: bool) -> list[str | CallStep] | None:
        if (closed := self._close.whole.match(self._held)) is not None:
            self._held, self._state = self._held[closed.end() :], self._in_text
            return []
        found = None if self._between is None else self._between.whole.match(self._held)
        if found is not None and found[1] in self._names:
            return self._called(found)
        closes = self._close.begun.fullmatch(self._held)
        if not ends and (closes or (self._between is not None and self._between.begun.fullmatch(self._held))):
            return None
        if closes or not self._held.strip("]}, \n"):  # truncated, or without the template's id
            self._held = ""
        self._state = self._in_text
        return []


class _Part:
    """A part of the template as a regular expression, and one that matches its prefixes."""

    def __init__(self, pieces: Sequence[str], ahead: str = "") -> None:
        self.whole = re.compile("".join(pieces) + ahead)
        self.begun = re.compile("|".join("".join(pieces[:count]) for count in range(len(pieces) + 1)))


class _Object:
    """Incremental scanner for the end of a JSON object."""

    def __init__(self) -> None:
        self._depth, self._quoted, self._escaped, self.whole = 0, False, False, False

    def end(self, text: str) -> int:
        """Number of characters of the next piece that belong to the object."""
        for at, char in enumerate(text):
            if self._escaped:
                self._escaped = False
            elif self._quoted:
                self._quoted, self._escaped = char != '"', char == "\\"
            elif char == '"':
                self._quoted = True
            elif char in "{[":
                self._depth += 1
            elif char in "}]":
                self._depth -= 1
                if not self._depth:
                    self.whole = True
                    return at + 1
        return len(text)


def _pieces(text: str) -> list[str]:
    """A template literal as one regular expression per character; white space matches any white space."""
    return [{" ": r"\s*", ID: _ID}.get(char) or re.escape(char) for char in re.sub(r"\s+", " ", text)]
