"""The chat renderer: messages to ids, loss mask and spans, with any Jinja template.

The template is rendered with a placeholder in the place of each content. What lies between the placeholders
is the template's own text and is encoded with control tokens; contents are encoded without. So text can
never become a control token, whatever it says, and who wrote each token is known: no searching, no prefixes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import jinja2
import jinja2.nodes
import jinja2.sandbox
from jinja2.ext import Extension
from jinja2.parser import Parser

from tutelage.store.errors import InputError
from tutelage.tokenizer.messages import Message

if TYPE_CHECKING:
    from tutelage.tokenizer.tokenizer import Tokenizer

CHATML = """\
{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
"""Template of every tokenizer trained here."""

# Private-use characters: no template asks for them, trims them, escapes them or changes their case.
_OPEN, _CLOSE, _ZERO = "\ue000", "\ue001", 0xE010
_PLACEHOLDER = re.compile(f"{_OPEN}([{chr(_ZERO)}-{chr(_ZERO + 9)}]+){_CLOSE}")
_PRIVATE = re.compile(f"[{_OPEN}-{chr(_ZERO + 9)}]")


@dataclass(frozen=True)
class Span:
    """Where the content of one message lies: `ids[start:end]`, with a space before it if the template writes one.

    `stop` is the position of its stop token; None but for assistant messages.
    """

    message: int
    role: str
    start: int
    end: int
    stop: int | None = None


@dataclass(frozen=True)
class Rendered:
    """A conversation as ids. `mask[i]`: token i is trained on (assistant content and its stop token)."""

    ids: list[int]
    mask: list[bool]
    spans: list[Span]
    bos_id: int | None = None


def render_chat(
    tok: Tokenizer,
    messages: Sequence[Message],
    add_generation_prompt: bool = False,
    template: str | None = None,
) -> Rendered:
    """Ids, loss mask and spans of a conversation, by the tokenizer's own template (or the one given).

    Contents are taken word for word, but for the outer white space that a template trims. Dates in templates
    are fixed, so that equal messages give equal ids. Raises InputError if the template is missing, faulty,
    refuses the messages, drops, repeats or alters one, or ends an assistant turn without a control token.
    """
    template = template if template is not None else tok.chat_template
    if template is None:
        raise InputError("the tokenizer has no chat template", hint="give one, or use a chat model")
    if not messages:
        raise InputError("no messages to render")
    marks = [_mark(index) for index in range(len(messages))]
    pieces, order = _render(tok, template, messages, marks, add_generation_prompt)
    contents = _contents(tok, template, messages, add_generation_prompt, order)
    _join_spaces(tok, template, messages, pieces, contents, order)

    ids = tok.encode_control(pieces[0])
    mask = [False] * len(ids)
    spans: list[Span] = []
    for piece, index in zip(pieces[1:], order, strict=True):
        role = messages[index].role
        body, control = tok.encode_inside(contents[index]), tok.encode_control(piece)
        trained = _up_to_stop(tok, piece, control) if role == "assistant" else 0
        start, end = len(ids), len(ids) + len(body)
        ids += body + control
        mask += [role == "assistant"] * len(body) + [place < trained for place in range(len(control))]
        spans.append(Span(index, role, start, end, end + trained - 1 if trained else None))
    return Rendered(ids, mask, spans, tok.bos_id)


def check_rendering(rendered: Rendered) -> None:
    """Raise InputError unless a conversation can be trained on.

    At least one trained token, every assistant turn ends in a trained stop token, no doubled begin-of-text.
    """
    ids, mask = rendered.ids, rendered.mask
    if not any(mask):
        raise InputError("no token of the conversation is trained on", hint="it needs an assistant message")
    for span in rendered.spans:
        if span.role == "assistant" and (span.stop is None or not mask[span.stop]):
            raise InputError(f"the stop token of message {span.message} is not trained on")
    if rendered.bos_id is not None and ids[:2] == [rendered.bos_id, rendered.bos_id]:
        raise InputError("the begin-of-text token stands twice at the beginning")


def turn_end(tok: Tokenizer) -> int | None:
    """The token that ends an assistant turn by the tokenizer's template; None if that cannot be told."""
    try:
        rendered = render_chat(tok, [Message("user", "a"), Message("assistant", "b")])
    except InputError:
        return None
    stop = rendered.spans[-1].stop
    return None if stop is None else rendered.ids[stop]


def _up_to_stop(tok: Tokenizer, piece: str, control: list[int]) -> int:
    """Number of tokens of a template piece up to and with the stop token that ends the turn before it."""
    for place, index in enumerate(control):
        if index in tok.control_ids:
            return place + 1
        # White space before the stop token is the model's to write as well; any other text is not an end.
        if tok.token_bytes(index).strip():
            break
    raise InputError(
        f"the template ends an assistant turn with {piece[:20]!r}, which does not begin with a control token",
        hint="such a model could never learn to stop",
    )


def _join_spaces(
    tok: Tokenizer,
    template: str,
    messages: Sequence[Message],
    pieces: list[str],
    contents: list[str],
    order: list[int],
) -> None:
    """Give a space that the template writes before a content to the content, in place.

    Vocabularies hold " word" as one token, and so did the texts the model has seen ("[INST] word"). Before an
    answer this holds only if the model has to write the space itself: where the prompt ends in it, it stays there.
    """
    for place, index in enumerate(order):
        if not pieces[place].endswith(" "):
            continue
        if messages[index].role == "assistant" and _prompt_ends_in_space(tok, template):
            continue
        pieces[place], contents[index] = pieces[place][:-1], " " + contents[index]


def _prompt_ends_in_space(tok: Tokenizer, template: str) -> bool:
    pieces, _ = _render(tok, template, [Message("user", "")], [_mark(0)], True)
    return pieces[-1].endswith(" ")


def _mark(index: int) -> str:
    return _OPEN + "".join(chr(_ZERO + int(digit)) for digit in str(index)) + _CLOSE


def _render(
    tok: Tokenizer, template: str, messages: Sequence[Message], texts: list[str], add_generation_prompt: bool
) -> tuple[list[str], list[int]]:
    """The template's own text around the placeholders, and which message stands in each gap."""
    plain = [{"role": message.role, "content": text} for message, text in zip(messages, texts, strict=True)]
    try:
        rendered = _compiled(template).render(
            messages=plain,
            add_generation_prompt=add_generation_prompt,
            tools=None,
            documents=None,
            **tok.special_tokens,
        )
    except (
        jinja2.TemplateError,
        TypeError,
        ValueError,
        LookupError,
        AttributeError,
        ArithmeticError,
    ) as error:
        raise InputError(f"the chat template refuses these messages: {error}") from None
    parts = _PLACEHOLDER.split(rendered)
    pieces = parts[::2]
    order = [int("".join(str(ord(digit) - _ZERO) for digit in number)) for number in parts[1::2]]
    if any(_PRIVATE.search(piece) for piece in pieces):
        raise InputError("the chat template alters the content of a message", hint="it cannot be rendered safely")
    for index, message in enumerate(messages):
        if (count := order.count(index)) != 1:
            what = "drops" if count == 0 else f"repeats ({count} times)"
            raise InputError(f"the chat template {what} message {index} ({message.role})")
    return pieces, order


def _contents(
    tok: Tokenizer,
    template: str,
    messages: Sequence[Message],
    add_generation_prompt: bool,
    order: list[int],
) -> list[str]:
    """Contents as the template would show them: without outer white space where it trims that away."""
    contents = [message.content for message in messages]
    if all(content == content.strip() for content in contents):
        return contents
    # Rendered once more between two kinds of white space that no template writes: where one is gone, the
    # template trims that side.
    padded = [f"\v{_mark(index)}\f" for index in range(len(messages))]
    around, _ = _render(tok, template, messages, padded, add_generation_prompt)
    for place, index in enumerate(order):
        if not around[place].endswith("\v"):
            contents[index] = contents[index].lstrip()
        if not around[place + 1].startswith("\f"):
            contents[index] = contents[index].rstrip()
    return contents


@lru_cache(maxsize=64)
def _compiled(template: str) -> jinja2.Template:
    """The template, compiled in a sandbox that can neither reach Python nor change what it is given."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _fixed_date
    try:
        return environment.from_string(template)
    except jinja2.TemplateSyntaxError as error:
        raise InputError(f"the chat template is faulty: line {error.lineno}: {error.message}") from None


class _Generation(Extension):
    """`{% generation %}`, with which some templates mark what is trained; rendered as if not there."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> jinja2.nodes.Node | list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _to_json(value: Any, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent, **options)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


def _fixed_date(pattern: str) -> str:
    from datetime import date

    # Today's date in a prompt would give other ids tomorrow; this is the date the Llama 3.1 template falls
    # back to.
    return date(2024, 7, 26).strftime(pattern)
