"""The chat renderer: messages to ids, loss mask and spans, with any Jinja template.

The template is rendered with a placeholder in the place of each content. What lies between the placeholders
is the template's own text and is encoded with control tokens; contents are encoded without. So text can
never become a control token, whatever it says, and who wrote each token is known: no searching, no prefixes.

Definitions and calls of tools are written by the template itself, as its own text; one that holds the name of a control
token is refused. See `tokenizer/calls.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tutelage.store.errors import InputError
from tutelage.tokenizer.assembled import ConversationTokens, Rendered, Span
from tutelage.tokenizer.calls import call_places, refuse_control_names, refuse_unwritten
from tutelage.tokenizer.messages import Message
from tutelage.tokenizer.template import CHATML, FIXED_DATE, render_template
from tutelage.tokenizer.vocabulary import Vocabulary

# Private-use characters: no template asks for them, trims them, escapes them or changes their case.
_OPEN, _CLOSE, _ZERO = "\ue000", "\ue001", 0xE010
_PLACEHOLDER = re.compile(f"{_OPEN}([{chr(_ZERO)}-{chr(_ZERO + 9)}]+){_CLOSE}")
__all__ = ["Rendered", "Span", "render_chat", "rendered_text", "turn_end"]

_PRIVATE = re.compile(f"[{_OPEN}-{chr(_ZERO + 9)}]")


def render_chat(
    tok: Vocabulary,
    messages: Sequence[Message],
    add_generation_prompt: bool = False,
    template: str | None = None,
    today: str = FIXED_DATE,
    tools: Sequence[Mapping[str, Any]] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Rendered:
    """Ids, loss mask and spans of a conversation, by the tokenizer's own template (or the one given).

    Contents are taken word for word, but for the outer white space that a template trims. Dates in templates
    are fixed, so that equal messages give equal ids. `tools`: what may be called, as chat templates read it
    ([{"type": "function", "function": {"name", "description", "parameters"}}]). `options`: more
    variables for the template, such as enable_thinking. Raises InputError if the template is
    missing, faulty, refuses the messages, drops, repeats or alters one, ends an assistant turn without a control token,
    or writes no tools where there are some.
    """
    template = template if template is not None else tok.chat_template
    if template is None:
        raise InputError("the tokenizer has no chat template", hint="give one, or use a chat model")
    if not messages:
        raise InputError("no messages to render")
    refuse_control_names(tok, messages, tools)
    show = _Shown(tok, template, messages, add_generation_prompt, today, tools, options or {})
    pieces, order = _render(show, show.marks)
    calls = call_places(show, pieces, order)
    contents = _contents(show, order)
    if template != CHATML:
        contents = _as_shown(show, pieces, order, contents)
    refuse_unwritten(messages, tools, _joined(pieces, [contents[index] for index in order]))
    _join_spaces(show, pieces, contents, order)

    joins = bool(tools) or any(message.tool_calls or message.role == "tool" for message in messages)
    out = ConversationTokens(tok, messages, calls, joins)
    out.add(0, None, "", pieces[0])
    for number, index in enumerate(order, 1):
        out.add(number, index, contents[index], pieces[number])
    return out.rendered()


@dataclass(frozen=True)
class _Shown:
    """A conversation and the template that shows it.

    `marks`: a placeholder for the content of each message; nothing for an answer that only calls tools.
    """

    tok: Vocabulary
    template: str
    messages: Sequence[Message]
    add_generation_prompt: bool
    today: str = FIXED_DATE
    tools: Sequence[Mapping[str, Any]] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def marks(self) -> list[str]:
        return [
            _mark(index) if message.content or not message.tool_calls else ""
            for index, message in enumerate(self.messages)
        ]

    def text(self, texts: Sequence[str], turns: int | None = None) -> str:
        """What the template makes of the messages with `texts` for contents; of the first `turns` as a prompt."""
        messages = self.messages if turns is None else self.messages[:turns]
        plain = [
            message.plain() | {"content": text} for message, text in zip(messages, texts[: len(messages)], strict=True)
        ]
        prompt = self.add_generation_prompt if turns is None else True
        variables = {"messages": plain, "add_generation_prompt": prompt, "tools": self.tools, "documents": None}
        return render_template(self.template, {**self.options, **variables, **self.tok.special_tokens}, self.today)


def learned_weights(rendered: Rendered, weights: Sequence[float] | None = None) -> list[float]:
    """How much each token of a conversation is learned: 0 or 1 by the mask, times the weight of its message.

    `weights`: one for each message; None: all 1.
    """
    found = [float(trained) for trained in rendered.mask]
    for span in rendered.spans if weights is not None else ():
        for at in range(span.start, span.end if span.stop is None else span.stop + 1):
            found[at] *= weights[span.message]  # type: ignore[index]
    return found


def turn_end(tok: Vocabulary) -> int | None:
    """The token that ends an assistant turn by the tokenizer's template; None if that cannot be told."""
    try:
        rendered = render_chat(tok, [Message("user", "a"), Message("assistant", "b")])
    except InputError:
        return None
    stop = rendered.spans[-1].stop
    return None if stop is None else rendered.ids[stop]


def _join_spaces(show: _Shown, pieces: list[str], contents: list[str], order: list[int]) -> None:
    """Give a space that the template writes before a content to the content, in place.

    Vocabularies hold " word" as one token, and so did the texts the model has seen ("[INST] word"). Before an
    answer this holds only if the model has to write the space itself: where the prompt ends in it, it stays there.
    """
    for place, index in enumerate(order):
        if not pieces[place].endswith(" "):
            continue
        if show.messages[index].role == "assistant" and _prompt_ends_in_space(show.tok, show.template):
            continue
        pieces[place], contents[index] = pieces[place][:-1], " " + contents[index]


def _prompt_ends_in_space(tok: Vocabulary, template: str) -> bool:
    pieces, _ = _render(_Shown(tok, template, [Message("user", "")], True), [_mark(0)])
    return pieces[-1].endswith(" ")


def _as_shown(show: _Shown, pieces: list[str], order: list[int], contents: list[str]) -> list[str]:
    """Contents as the template shows them when it sees what they say: some look at a message and change it (`<think>`
    taken out of earlier answers, a trimmed or quoted text).

    Raises InputError where it cannot be told which part of the rendering a content is, or where the template writes
    control tokens because of what a content says: then ids would not be those of the model's own template.
    """
    messages, marks = show.messages, show.marks
    real = show.text([message.content for message in messages])
    if real == _joined(pieces, [contents[index] for index in order]):
        return contents
    shown = list(contents)
    for place, index in enumerate(order):
        alone = [messages[index].content if each == index else mark for each, mark in enumerate(marks)]
        text = show.text(alone)
        before = _joined(pieces[: place + 1], [marks[each] for each in order[:place]])
        after = _joined(pieces[place + 1 :], [marks[each] for each in order[place + 1 :]])
        if text.startswith(before) and text.endswith(after) and len(text) >= len(before) + len(after):
            shown[index] = text[len(before) : len(text) - len(after)]
    if real != _joined(pieces, [shown[index] for index in order]):
        raise InputError(
            "the chat template writes other text around a message because of what it says",
            hint="such a conversation cannot be rendered safely with this template; give one that does not look",
        )
    for index, message in enumerate(messages):
        for name in show.tok.added_names:
            if shown[index].count(name) > message.content.count(name):
                raise InputError(f"the chat template writes {name!r} into message {index} because of what it says")
    return shown


def _joined(pieces: Sequence[str], between: Sequence[str]) -> str:
    """The pieces with one text between each two; one more piece than texts, or as many."""
    return "".join(piece + text for piece, text in zip(pieces, [*between, ""], strict=False))


def _mark(index: int) -> str:
    return _OPEN + "".join(chr(_ZERO + int(digit)) for digit in str(index)) + _CLOSE


def rendered_text(
    tok: Vocabulary, template: str, messages: Sequence[Message], texts: Sequence[str], add_generation_prompt: bool,
    today: str = FIXED_DATE,
) -> str:  # fmt: skip
    """What the template makes of the messages with `texts` for contents."""
    return _Shown(tok, template, messages, add_generation_prompt, today).text(texts)


def _render(show: _Shown, texts: Sequence[str]) -> tuple[list[str], list[int]]:
    """The template's own text around the placeholders, and which message stands in each gap."""
    parts = _PLACEHOLDER.split(show.text(texts))
    pieces = parts[::2]
    order = [int("".join(str(ord(digit) - _ZERO) for digit in number)) for number in parts[1::2]]
    if any(_PRIVATE.search(piece) for piece in pieces):
        raise InputError("the chat template alters the content of a message", hint="it cannot be rendered safely")
    for index, message in enumerate(show.messages):
        if texts[index] and (count := order.count(index)) != 1:
            what = "drops" if count == 0 else f"repeats ({count} times)"
            raise InputError(f"the chat template {what} message {index} ({message.role})")
    return pieces, order


def _contents(show: _Shown, order: list[int]) -> list[str]:
    """Contents as the template would show them: without outer white space where it trims that away."""
    contents = [message.content for message in show.messages]
    if all(content == content.strip() for content in contents):
        return contents
    # Rendered once more between two kinds of white space that no template writes: where one is gone, the
    # template trims that side.
    around, _ = _render(show, [mark and f"\v{mark}\f" for mark in show.marks])
    for place, index in enumerate(order):
        if not around[place].endswith("\v"):
            contents[index] = contents[index].lstrip()
        if not around[place + 1].startswith("\f"):
            contents[index] = contents[index].rstrip()
    return contents
