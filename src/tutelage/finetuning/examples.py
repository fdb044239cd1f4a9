"""Encode rows to packed examples with loss masks; rows that do not fit are counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tutelage.finetuning.reading import Reading, reading_of, starts_twice
from tutelage.store.errors import InputError, TrainingError
from tutelage.store.events import EventLog
from tutelage.tokenizer.chat import Rendered, learned_weights, render_chat
from tutelage.tokenizer.messages import Message, message_of
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.data.packing import Example, Segment

Row = dict[str, Any]
Learn = Literal["answers", "last", "all"]


@dataclass(frozen=True)
class Supervision:
    """Statistics of a split: rows given, rows kept, rows too long, tokens read, tokens with loss.

    `shared`: tokens read once for several branches. `refused`: rows that the chat template rejects, by reason; they are
    dropped like those that are too long. `places`: indices of the kept rows.
    """

    rows: int
    kept: int
    too_long: int
    tokens: int
    supervised: int
    refused: dict[str, int] = field(default_factory=dict)
    places: tuple[int, ...] = ()
    shared: int = 0

    def plain(self) -> dict[str, Any]:
        names = ("rows", "kept", "too_long", "tokens", "supervised", "refused")
        plain = {name: getattr(self, name) for name in names}
        return {**plain, "supervised_share": round(self.supervised / max(self.tokens, 1), 4)}

    def kept_of(self, rows: Sequence[Row]) -> list[Row]:
        """The kept rows among those given."""
        return [rows[place] for place in self.places]

    def tell(self, what: str, context: int, log: EventLog, dropped: bool = True) -> None:
        """Log what is trained and, unless the caller reports it, what is dropped."""
        share = self.supervised / max(self.tokens, 1)
        log.note(
            f"{what}: {self.kept} rows, {self.tokens} tokens, {self.supervised} of them learned ({share:.0%}); "
            "the stop token is learned in every row"
        )
        self.tell_shared(what, log)
        if dropped:
            self.tell_dropped(what, context, log)

    def tell_shared(self, what: str, log: EventLog) -> None:
        if self.shared:
            share = self.shared / (self.tokens + self.shared)
            log.note(f"{what}: each prompt is read once for both of its answers, which saves {share:.0%} of the tokens")

    def tell_dropped(self, what: str, context: int, log: EventLog) -> None:
        if self.too_long:
            log.warn(f"{what}: {self.too_long} of {self.rows} rows are longer than {context} tokens and dropped")
        for reason, count in self.refused.items():
            log.warn(f"{what}: {count} of {self.rows} rows are dropped: {reason}")


def messages_of(row: Row) -> list[Message]:
    """The conversation of an instruction row."""
    if "messages" in row:
        return [message_of(turn) for turn in row["messages"]]
    return [Message("user", row["prompt"]), Message("assistant", row["response"])]


def weights_of(row: Row) -> list[float]:
    """Loss weight of each message of the row, default 1 (only answers have a loss)."""
    return [_weight(turn) for turn in row.get("messages", ())] or [1.0, 1.0]


def asked_of(row: Row) -> list[Message]:
    """The shared context of a preference row."""
    if "messages" in row:
        return [message_of(turn) for turn in row["messages"]]
    return [Message("user", row["prompt"])]


@dataclass(frozen=True)
class Encoded:
    """Encoded rows of any length: segments and readings by row index, and rejected rows.

    numbered: tokens of kept examples carry the example index (`pair`), from 0.
    """

    segments: dict[int, list[Segment]]
    readings: dict[int, Reading]
    refused: dict[str, int] = field(default_factory=dict)
    numbered: bool = False

    @property
    def needs(self) -> list[int]:
        """The context that each row requires."""
        return [reading.needs for reading in self.readings.values()]

    @property
    def sizes(self) -> list[int]:
        """The tokens of each row, all of which must be in one packed row."""
        return [sum(len(segment.tokens) for segment in self.segments[place]) for place in self.readings]

    def fitting(self, context: int) -> tuple[list[Example], Supervision]:
        """The rows that fit into `context` tokens; the others are dropped and counted."""
        examples, supervision = _keep_fitting(self, context)
        for number, example in enumerate(examples if self.numbered else ()):
            for segment in example.segments:
                segment.extras["pair"] = [float(number)] * len(segment.tokens)
        return examples, supervision


def supervised(
    tok: Tokenizer, messages: Sequence[Message], weights: Sequence[float] | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
) -> tuple[Rendered, list[float]]:  # fmt: skip
    """Encode a conversation to tokens with loss weights.

    `weights`: one per message; an answer of weight 0 is read without loss. `tools`: available tools. Raises
    TrainingError if no token has a loss, the stop token of an answer has none, or the begin-of-text token is doubled.
    """
    rendered = render_chat(tok, list(messages), tools=tools)
    if starts_twice(rendered):
        raise TrainingError("a conversation begins with the begin-of-text token twice", hint="fix the chat template")
    weight_at = learned_weights(rendered, weights)
    learned = [index for index, weight in enumerate(weight_at) if weight > 0]
    if not learned:
        raise TrainingError(
            "a conversation has no tokens with loss", hint="the chat template's assistant mask is empty"
        )
    ends = [at for at in learned if at == learned[-1] or not rendered.mask[at + 1]]
    if any(rendered.ids[at] not in tok.stop_ids for at in ends):
        raise TrainingError(
            "an answer would not be trained to stop", hint="the chat template must end an answer with a stop token"
        )
    return rendered, weight_at


def conversation_segment(
    tok: Tokenizer, messages: Sequence[Message], weights: Sequence[float] | None = None
) -> Segment:
    """Tokens, shifted targets and weights of a conversation, up to its last token with loss; see `supervised`."""
    return segment_of(*supervised(tok, messages, weights))


def segment_of(rendered: Rendered, weight_at: Sequence[float]) -> Segment:
    last = max(at for at, weight in enumerate(weight_at) if weight > 0)
    return Segment(rendered.ids[:last], rendered.ids[1 : last + 1], weight_at[1 : last + 1])


def supervised_row(tok: Tokenizer, row: Row, learn: Learn = "answers") -> tuple[Rendered, list[float]]:
    """A row's conversation with loss weights: on the answers, the last answer, or all text."""
    weights = weights_of(row)
    if learn == "last":
        weights = [*(0.0 for _ in weights[1:]), weights[-1]]
    rendered, weight_at = supervised(tok, messages_of(row), weights, row.get("tools"))
    if learn == "all":
        # An answer keeps its own weight; all other text gets weight 1. Nothing predicts the first token.
        trained = zip(weight_at, rendered.mask, strict=True)
        weight_at = [0.0, *[weight if of_answer else 1.0 for weight, of_answer in trained][1:]]
    return rendered, weight_at


def encode_conversations(tok: Tokenizer, rows: Sequence[Row], learn: Learn = "answers") -> Encoded:
    """Encode one conversation per row."""

    def encode(row: Row) -> tuple[list[Segment], Reading]:
        found = supervised_row(tok, row, learn)
        return [segment_of(*found)], reading_of(*found)

    return encoded(rows, encode)


def instruction_examples(tok: Tokenizer, rows: Sequence[Row], context: int) -> tuple[list[Example], Supervision]:
    """One example per row that fits into `context` tokens."""
    return encode_conversations(tok, rows).fitting(context)


def label_examples(
    tok: Tokenizer, rows: Sequence[Row], labels: Sequence[str], weight_of: Mapping[str, float]
) -> list[Example]:
    """One example per text, encoded as in `LanguageModel.classify`; the target at its last token is the label index."""
    number = {label: index for index, label in enumerate(labels)}
    examples = []
    for row, encoded in zip(rows, tok.encode_batch([row["text"] for row in rows]), strict=True):
        ids = tok.framed(encoded)
        before = [0] * (len(ids) - 1)
        label = row["label"]
        targets = [*before, number[label]]
        examples.append(Example([Segment(ids, targets, [*map(float, before), weight_of[label]])]))
    return examples


def text_examples(tok: Tokenizer, texts: Sequence[str], context: int, tokens: int) -> list[Example]:
    """Pretraining text for replay: beginnings of documents with loss on every token, until `tokens` are reached.

    A document begins and ends as in pretraining; a chat model's `eos_token` may end a turn instead.
    """
    examples: list[Example] = []
    for text in texts:
        if tokens <= 0:
            break
        ids = [tok.start_id, *tok.encode(text), tok.end_of_text_id][: context + 1]
        examples.append(Example([Segment(ids[:-1], ids[1:], [1.0] * (len(ids) - 1))]))
        tokens -= len(ids) - 1
    return examples


def row_length(examples: Sequence[Example], context: int) -> int:
    """Length of a packed row: the context, or more if an example with several segments requires it."""
    return max([context, *(example.length for example in examples)])


def _weight(turn: Mapping[str, Any]) -> float:
    return 0.0 if turn.get("trained") is False else float(turn.get("weight", 1.0))


def encoded(
    rows: Sequence[Row], encode: Callable[[Row], tuple[list[Segment], Reading]], numbered: bool = False
) -> Encoded:
    """Segments and reading of each row by index, and counts of rows that the chat template rejects, by reason.

    Raises the template's own InputError if it rejects every row; TrainingError, naming the row, if one has no loss.
    """
    segments: dict[int, list[Segment]] = {}
    readings: dict[int, Reading] = {}
    refused: Counter[str] = Counter()
    first: InputError | None = None
    for place, row in enumerate(rows):
        try:
            segments[place], readings[place] = encode(row)
        except InputError as error:
            first = first or error
            refused[str(error)] += 1
        except TrainingError as error:
            asked = " ".join(str(row.get("prompt") or row.get("id")).split())[:60]
            raise TrainingError(f"{error.message} (the one that asks {asked!r})", hint=error.hint) from None
    if first is not None and not segments:
        raise first
    return Encoded(segments, readings, dict(refused.most_common()), numbered)


def _keep_fitting(rows: Encoded, context: int) -> tuple[list[Example], Supervision]:
    places = [place for place, reading in rows.readings.items() if reading.needs <= context]
    kept = [rows.segments[place] for place in places]
    if not kept:
        raise InputError(
            f"none of {len(rows.segments)} rows fits into {context} tokens",
            hint="raise context_length or give shorter text",
        )
    segments = [segment for group in kept for segment in group]
    supervision = Supervision(
        rows=len(rows.segments) + sum(rows.refused.values()),
        kept=len(kept),
        too_long=len(rows.segments) - len(kept),
        tokens=sum(len(segment.tokens) for segment in segments),
        supervised=sum(weight > 0 for segment in segments for weight in segment.weights),
        refused=rows.refused,
        places=tuple(places),
        shared=sum(segment.shared for segment in segments),
    )
    return [Example(group) for group in kept], supervision
