"""Calls of tools in an answer: the grammar of those that must come, and reading those that did, piece by piece."""

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
    """An answer that calls some of the tools (name -> JSON schema of its arguments), each with arguments that its
    schema accepts; with "auto" after any text, or text alone. one: one call and no more."""
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
    """A text of a form in Lark's notation: control tokens by their ids, an id of a call as any of its kind."""
    names = {tok.id_to_token(index): f"<[{index}]>" for index in tok.control_ids}
    parts = re.split(f"({'|'.join(map(re.escape, [ID, *sorted(names, key=len, reverse=True)]))})", text)
    said = [names.get(part) or ("/[A-Za-z0-9]{9}/" if part == ID else json.dumps(part)) for part in parts if part]
    return " ".join(said)


def _escaped(text: str) -> str:
    return re.escape(text).replace("/", r"\/")


@dataclass(frozen=True)
class CallStep:
    """A piece of call `index` of an answer: with the first its name, then pieces of the JSON text of its arguments."""

    index: int
    name: str | None
    arguments: str = ""


class CallReader:
    """What a growing answer says and calls. Calls are those of tools that there are, in the form of the template but
    for white space; all else is text. Text is held back as long as it may turn out to begin a call, and white space
    before and between calls is dropped."""

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
        """What is now certain."""
        return self._read(text, ends=False)

    def close(self) -> list[str | CallStep]:
        """No text follows: what was held back."""
        said = self._read("", ends=True)
        return [*said, self._blank] if self._blank and not self.count else said

    def _read(self, text: str, ends: bool) -> list[str | CallStep]:
        self._held += text
        said: list[str | CallStep] = []
        while (made := self._state(ends)) is not None:
            said += made
        return said

    # Each state gives out what it is certain of; None: nothing before more text comes.

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
        """So many characters are text."""
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
        if closes or not self._held.strip("]}, \n"):  # cut; or without the id that its template writes, as some do
            self._held = ""
        self._state = self._in_text
        return []


class _Part:
    """A part of a form as a regular expression, and one of all that may be its beginning."""

    def __init__(self, pieces: Sequence[str], ahead: str = "") -> None:
        self.whole = re.compile("".join(pieces) + ahead)
        self.begun = re.compile("|".join("".join(pieces[:count]) for count in range(len(pieces) + 1)))


class _Object:
    """Where a JSON object ends in a text that comes piece by piece."""

    def __init__(self) -> None:
        self._depth, self._quoted, self._escaped, self.whole = 0, False, False, False

    def end(self, text: str) -> int:
        """How many characters of the next piece belong to it."""
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
    """A text of a form, character by character as regular expressions; any white space where it has some."""
    return [{" ": r"\s*", ID: _ID}.get(char) or re.escape(char) for char in re.sub(r"\s+", " ", text)]
