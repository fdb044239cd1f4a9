"""Token ids of a conversation, assembled from the contents and the text of the template between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tutelage.store.errors import InputError
from tutelage.tokenizer.messages import Message
from tutelage.tokenizer.vocabulary import Vocabulary


@dataclass(frozen=True)
class Span:
    """The content of one message: `ids[start:end]`, including a preceding space if the template writes one.

    stop: position of the stop token of an assistant message, else None. Tool calls belong to the content of an
    assistant message.
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


@dataclass
class ConversationTokens:
    """The tokens of a conversation while it is assembled.

    calls: piece -> (offset in it, message) at which answers with tool calls begin. joins: whether a content is encoded
    together with the template text that follows it. calling: the message whose call is being written, and its start.
    """

    tok: Vocabulary
    messages: Sequence[Message]
    calls: Mapping[int, Sequence[tuple[int, int]]]
    joins: bool
    ids: list[int] = field(default_factory=list)
    mask: list[bool] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    calling: tuple[int, int] | None = None

    def rendered(self) -> Rendered:
        if self.calling is not None:
            raise InputError("the chat template ends a tool call without a stop token")
        return Rendered(self.ids, self.mask, self.spans, self.tok.bos_id)

    def add(self, number: int, index: int | None, content: str, piece: str) -> None:
        """The content of message `index` (None: none yet) and piece `number` of the template's own text behind it."""
        places = [(min(place, len(piece)), message) for place, message in self.calls.get(number, ())]
        head = piece[: places[0][0]] if places else piece
        if index is None:
            self._add_text(head, self.tok.encode_control(head), False)
        else:
            self._add_message(index, content, head)
        ends = [*(place for place, _ in places[1:]), len(piece)]
        for (place, message), end in zip(places, ends, strict=False):
            self.calling, text = (message, len(self.ids)), piece[place:end]
            self._add_text(text, self.tok.encode_control_inside(text), False)

    def _add_message(self, index: int, content: str, head: str) -> None:
        role = self.messages[index].role
        says, plainly = role == "assistant", role == "assistant" and self.calling is None
        # A text is encoded as a beginning at the start and after a control token, else as a continuation.
        fresh = not self.ids or self.ids[-1] in self.tok.control_ids
        joined = self.tok.encode_followed(content, head) if self.joins and not plainly else None
        if joined is not None:
            body, control = joined
        else:
            body = self.tok.encode(content) if fresh else self.tok.encode_inside(content)
            anew = fresh and not content
            control = self.tok.encode_control(head) if anew else self.tok.encode_control_inside(head)
        start = len(self.ids)
        self.ids += body
        self.mask += [says] * len(body)
        if self.calling is None:
            self.spans.append(Span(index, role, start, start + len(body)))
        self._add_text(head, control, plainly)

    def _add_text(self, text: str, control: list[int], ends: bool) -> None:
        """Tokens of the template's own text; `ends`: it ends what an assistant said."""
        start, trained = len(self.ids), 0
        if self.calling is not None:
            message, begin = self.calling
            stop = next((place for place, index in enumerate(control) if index in self.tok.stop_ids), None)
            trained = len(control) if stop is None else stop + 1
            if stop is not None:
                self.spans.append(Span(message, "assistant", begin, start + stop, start + stop))
                self.calling = None
        elif ends:
            trained = _up_to_stop(self.tok, text, control)
            self.spans[-1] = replace(self.spans[-1], stop=start + trained - 1)
        self.ids += control
        self.mask += [place < trained for place in range(len(control))]


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
