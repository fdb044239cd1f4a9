"""From rows to packed examples: what is read, what is learned, what does not fit and is counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tutelage.store.errors import InputError, TrainingError
from tutelage.store.events import EventLog
from tutelage.tokenizer.chat import render_chat
from tutelage.tokenizer.messages import Message
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.data.packing import Example, Segment

Row = dict[str, Any]


@dataclass(frozen=True)
class Supervision:
    """What of a split is trained: rows given, rows kept, rows too long, tokens read, tokens learned."""

    rows: int
    kept: int
    too_long: int
    tokens: int
    supervised: int

    def plain(self) -> dict[str, Any]:
        return {**asdict(self), "supervised_share": round(self.supervised / max(self.tokens, 1), 4)}

    def tell(self, what: str, context: int, log: EventLog) -> None:
        share = self.supervised / max(self.tokens, 1)
        log.note(
            f"{what}: {self.kept} rows, {self.tokens} tokens, {self.supervised} of them learned ({share:.0%}); "
            "the stop token is learned in every row"
        )
        if self.too_long:
            log.warn(f"{what}: {self.too_long} of {self.rows} rows are longer than {context} tokens and dropped")


def messages_of(row: Row) -> list[Message]:
    """The conversation of an instruction row."""
    if "messages" in row:
        return [Message(turn["role"], turn["content"]) for turn in row["messages"]]
    return [Message("user", row["prompt"]), Message("assistant", row["response"])]


def conversation_segment(tok: Tokenizer, messages: Sequence[Message]) -> Segment:
    """Tokens, shifted targets and assistant-only weights of a conversation, up to its last learned token.

    Raises TrainingError if nothing would be learned or an answer would not learn to stop.
    """
    rendered = render_chat(tok, list(messages))
    learned = [index for index, trained in enumerate(rendered.mask) if trained]
    if not learned:
        raise TrainingError("a conversation has nothing to learn", hint="the chat template's mask is empty")
    last = learned[-1]
    ends = [at for at in learned if at == last or not rendered.mask[at + 1]]
    if any(rendered.ids[at] not in tok.stop_ids for at in ends):
        raise TrainingError("an answer would not learn to stop", hint="its last learned token is no stop token")
    return Segment(
        rendered.ids[:last],
        rendered.ids[1 : last + 1],
        [float(trained) for trained in rendered.mask[1 : last + 1]],
    )


def instruction_examples(tok: Tokenizer, rows: Sequence[Row], context: int) -> tuple[list[Example], Supervision]:
    """One example per row that fits into `context` tokens."""
    segments = [[conversation_segment(tok, messages_of(row))] for row in rows]
    return _keep_fitting(segments, context)


def preference_examples(tok: Tokenizer, rows: Sequence[Row], context: int) -> tuple[list[Example], Supervision]:
    """One example per pair: the chosen conversation, then the rejected, each its own document.

    `side` is +1 where a chosen token is learned and -1 where a rejected one is. A pair of which one side does
    not fit is dropped whole.
    """
    pairs = []
    for row in rows:
        pair = []
        for side, key in ((1.0, "chosen"), (-1.0, "rejected")):
            segment = conversation_segment(tok, [Message("user", row["prompt"]), Message("assistant", row[key])])
            segment.extras["side"] = [side * weight for weight in segment.weights]
            pair.append(segment)
        pairs.append(pair)
    return _keep_fitting(pairs, context)


def label_examples(
    tok: Tokenizer, rows: Sequence[Row], labels: Sequence[str], weight_of: Mapping[str, float]
) -> list[Example]:
    """One example per text: its label's index is to be predicted at its last token."""
    number = {label: index for index, label in enumerate(labels)}
    examples = []
    for row, ids in zip(rows, tok.encode_batch([row["text"] for row in rows]), strict=True):
        before = [0] * (len(ids) - 1)
        label = row["label"]
        targets = [*before, number[label]]
        examples.append(Example([Segment(ids, targets, [*map(float, before), weight_of[label]])]))
    return examples


def text_examples(tok: Tokenizer, texts: Sequence[str], context: int, tokens: int) -> list[Example]:
    """Pretraining text to mix in: beginnings of documents, every token learned, until `tokens` are reached."""
    examples: list[Example] = []
    for text in texts:
        if tokens <= 0:
            break
        ids = [tok.eos_id, *tok.encode(text), tok.eos_id][: context + 1]
        examples.append(Example([Segment(ids[:-1], ids[1:], [1.0] * (len(ids) - 1))]))
        tokens -= len(ids) - 1
    return examples


def row_length(examples: Sequence[Example], context: int) -> int:
    """Length of a packed row: the context, or more where an example of several segments needs it."""
    return max([context, *(example.length for example in examples)])


def _keep_fitting(groups: Sequence[list[Segment]], context: int) -> tuple[list[Example], Supervision]:
    kept = [group for group in groups if all(len(segment.tokens) < context for segment in group)]
    if not kept:
        raise InputError(
            f"none of {len(groups)} rows fits into {context} tokens", hint="raise context_length or give shorter text"
        )
    segments = [segment for group in kept for segment in group]
    supervision = Supervision(
        rows=len(groups),
        kept=len(kept),
        too_long=len(groups) - len(kept),
        tokens=sum(len(segment.tokens) for segment in segments),
        supervised=sum(weight > 0 for segment in segments for weight in segment.weights),
    )
    return [Example(group) for group in kept], supervision
