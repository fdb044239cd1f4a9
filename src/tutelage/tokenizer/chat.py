"""The chat renderer: messages to ids, loss mask and spans, with any Jinja template.

The template is rendered with a placeholder in the place of each content. What lies between the placeholders
is the template's own text and is encoded with control tokens; contents are encoded without. So text can
never become a control token, whatever it says, and who wrote each token is known: no searching, no prefixes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tutelage.store.errors import InputError
from tutelage.tokenizer.messages import Message
from tutelage.tokenizer.template import CHATML, FIXED_DATE, render_template
from tutelage.tokenizer.vocabulary import Vocabulary

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
    tok: Vocabulary,
    messages: Sequence[Message],
    add_generation_prompt: bool = False,
    template: str | None = None,
    today: str = FIXED_DATE,
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
    pieces, order = _render(tok, template, messages, marks, add_generation_prompt, today)
    contents = _contents(tok, template, messages, add_generation_prompt, order)
    if template != CHATML:
        contents = _as_shown(tok, template, messages, pieces, order, contents, add_generation_prompt, today)
    _join_spaces(tok, template, messages, pieces, contents, order)

    ids = tok.encode_control(pieces[0])
    mask = [False] * len(ids)
    spans: list[Span] = []
    for piece, index in zip(pieces[1:], order, strict=True):
        role = messages[index].role
        # At the beginning and right after a control token a text begins anew; elsewhere it stands within a longer one.
        fresh = not ids or ids[-1] in tok.control_ids
        body = tok.encode(contents[index]) if fresh else tok.encode_inside(contents[index])
        anew = fresh and not contents[index]
        control = tok.encode_control(piece) if anew else tok.encode_control_inside(piece)
        trained = _up_to_stop(tok, piece, control) if role == "assistant" else 0
        start, end = len(ids), len(ids) + len(body)
        ids += body + control
        mask += [role == "assistant"] * len(body) + [place < trained for place in range(len(control))]
        spans.append(Span(index, role, start, end, end + trained - 1 if trained else None))
    return Rendered(ids, mask, spans, tok.bos_id)


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


def _up_to_stop(tok: Vocabulary, piece: str, control: list[int]) -> int:
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
    tok: Vocabulary,
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


def _prompt_ends_in_space(tok: Vocabulary, template: str) -> bool:
    pieces, _ = _render(tok, template, [Message("user", "")], [_mark(0)], True)
    return pieces[-1].endswith(" ")


def _as_shown(
    tok: Vocabulary, template: str, messages: Sequence[Message], pieces: list[str], order: list[int],
    contents: list[str], add_generation_prompt: bool, today: str,
) -> list[str]:  # fmt: skip
    """Contents as the template shows them when it sees what they say: some look at a message and change it (`<think>`
    taken out of earlier answers, a trimmed or quoted text).

    Raises InputError where it cannot be told which part of the rendering a content is, or where the template writes
    control tokens because of what a content says: then ids would not be those of the model's own template.
    """
    real = rendered_text(tok, template, messages, [message.content for message in messages], add_generation_prompt,
                         today)  # fmt: skip
    if real == _joined(pieces, [contents[index] for index in order]):
        return contents
    shown = list(contents)
    marks = [_mark(index) for index in range(len(messages))]
    for place, index in enumerate(order):
        alone = [messages[index].content if each == index else mark for each, mark in enumerate(marks)]
        text = rendered_text(tok, template, messages, alone, add_generation_prompt, today)
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
        for name in tok.added_names:
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
    plain = [{"role": message.role, "content": text} for message, text in zip(messages, texts, strict=True)]
    variables = {"messages": plain, "add_generation_prompt": add_generation_prompt, "tools": None, "documents": None}
    return render_template(template, {**variables, **tok.special_tokens}, today)


def _render(
    tok: Vocabulary, template: str, messages: Sequence[Message], texts: list[str], add_generation_prompt: bool,
    today: str = FIXED_DATE,
) -> tuple[list[str], list[int]]:  # fmt: skip
    """The template's own text around the placeholders, and which message stands in each gap."""
    rendered = rendered_text(tok, template, messages, texts, add_generation_prompt, today)
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
    tok: Vocabulary,
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
