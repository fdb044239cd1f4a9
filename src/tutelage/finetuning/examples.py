"""From rows to packed examples: what is read, what is learned, what does not fit and is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tutelage.store.errors import InputError, TrainingError
from tutelage.store.events import EventLog
from tutelage.tokenizer.chat import learned_weights, render_chat
from tutelage.tokenizer.messages import Message
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.data.packing import Example, Segment

Row = dict[str, Any]


@dataclass(frozen=True)
class Supervision:
    """What of a split is trained: rows given, rows kept, rows too long, tokens read, tokens learned.

    `refused`: rows that the chat template refuses, by its reason; they are dropped like those that are too long.
    `places`: which of the rows are kept.
    """

    rows: int
    kept: int
    too_long: int
    tokens: int
    supervised: int
    refused: dict[str, int] = field(default_factory=dict)
    places: tuple[int, ...] = ()

    def plain(self) -> dict[str, Any]:
        plain = {**asdict(self), "supervised_share": round(self.supervised / max(self.tokens, 1), 4)}
        del plain["places"]
        return plain

    def kept_of(self, rows: Sequence[Row]) -> list[Row]:
        """Of the rows given those that are kept: what is trained on, and what can be asked."""
        return [rows[place] for place in self.places]

    def tell(self, what: str, context: int, log: EventLog) -> None:
        share = self.supervised / max(self.tokens, 1)
        log.note(
            f"{what}: {self.kept} rows, {self.tokens} tokens, {self.supervised} of them learned ({share:.0%}); "
            "the stop token is learned in every row"
        )
        if self.too_long:
            log.warn(f"{what}: {self.too_long} of {self.rows} rows are longer than {context} tokens and dropped")
        for reason, count in self.refused.items():
            log.warn(f"{what}: {count} of {self.rows} rows are dropped: {reason}")


def messages_of(row: Row) -> list[Message]:
    """The conversation of an instruction row."""
    if "messages" in row:
        return [Message(turn["role"], turn["content"]) for turn in row["messages"]]
    return [Message("user", row["prompt"]), Message("assistant", row["response"])]


def weights_of(row: Row) -> list[float]:
    """How much each message of the row is learned: its `weight`, 1 without one (only answers are learned at all)."""
    return [_weight(turn) for turn in row.get("messages", ())] or [1.0, 1.0]


def asked_of(row: Row) -> list[Message]:
    """The turns that both answers of a preference row follow."""
    if "messages" in row:
        return [Message(turn["role"], turn["content"]) for turn in row["messages"]]
    return [Message("user", row["prompt"])]


def conversation_segment(
    tok: Tokenizer, messages: Sequence[Message], weights: Sequence[float] | None = None
) -> Segment:
    """Tokens, shifted targets and assistant-only weights of a conversation, up to its last learned token.

    `weights`: one for each message; an answer of weight 0 is read and not learned. Raises TrainingError if nothing
    would be learned, an answer would not learn to stop, or the begin-of-text token stands twice.
    """
    rendered = render_chat(tok, list(messages))
    if rendered.bos_id is not None and rendered.ids[:2] == [rendered.bos_id] * 2:
        raise TrainingError("a conversation begins with the begin-of-text token twice", hint="mend the chat template")
    weight_at = learned_weights(rendered, weights)
    learned = [index for index, weight in enumerate(weight_at) if weight > 0]
    if not learned:
        raise TrainingError("a conversation has nothing to learn", hint="the chat template's mask is empty")
    last = learned[-1]
    ends = [at for at in learned if at == last or not rendered.mask[at + 1]]
    if any(rendered.ids[at] not in tok.stop_ids for at in ends):
        raise TrainingError("an answer would not learn to stop", hint="its last learned token is no stop token")
    return Segment(
        rendered.ids[:last],
        rendered.ids[1 : last + 1],
        weight_at[1 : last + 1],
    )


def instruction_examples(tok: Tokenizer, rows: Sequence[Row], context: int) -> tuple[list[Example], Supervision]:
    """One example per row that fits into `context` tokens."""
    segments, refused = _rendered(rows, lambda row: [conversation_segment(tok, messages_of(row), weights_of(row))])
    return _keep_fitting(segments, context, refused)


def preference_examples(tok: Tokenizer, rows: Sequence[Row], context: int) -> tuple[list[Example], Supervision]:
    """One example per pair: the chosen conversation, then the rejected, each its own document.

    `side` is +1 where a chosen token is learned and -1 where a rejected one is; the answers that stand in the shared
    turns are learned on neither side. A pair of which one side does not fit is dropped whole.
    """

    def pair_of(row: Row) -> list[Segment]:
        pair = []
        for side, key in ((1.0, "chosen"), (-1.0, "rejected")):
            segment = conversation_segment(
                tok, [*asked_of(row), Message("assistant", row[key])], [*(0.0 for _ in asked_of(row)), 1.0]
            )
            segment.extras["side"] = [side * weight for weight in segment.weights]
            pair.append(segment)
        return pair

    pairs, refused = _rendered(rows, pair_of)
    return _keep_fitting(pairs, context, refused)


def label_examples(
    tok: Tokenizer, rows: Sequence[Row], labels: Sequence[str], weight_of: Mapping[str, float]
) -> list[Example]:
    """One example per text, read as `LanguageModel.classify` reads it: its label's index is to be predicted at its last
    token."""
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
    """Pretraining text to mix in: beginnings of documents, every token learned, until `tokens` are reached.

    A document begins and ends as the model has read documents; a chat model's `eos_token` may end a turn instead.
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
    """Length of a packed row: the context, or more where an example of several segments needs it."""
    return max([context, *(example.length for example in examples)])


def _weight(turn: Mapping[str, Any]) -> float:
    return 0.0 if turn.get("trained") is False else float(turn.get("weight", 1.0))


def _rendered(
    rows: Sequence[Row], render: Callable[[Row], list[Segment]]
) -> tuple[dict[int, list[Segment]], dict[str, int]]:
    """Segments of each row by its place, and the count of rows the chat template refuses by reason.

    Raises the template's own InputError where it refuses every row.
    """
    kept: dict[int, list[Segment]] = {}
    refused: Counter[str] = Counter()
    first: InputError | None = None
    for place, row in enumerate(rows):
        try:
            kept[place] = render(row)
        except InputError as error:
            first = first or error
            refused[str(error)] += 1
    if first is not None and not kept:
        raise first
    return kept, dict(refused.most_common())


def _keep_fitting(
    groups: Mapping[int, list[Segment]], context: int, refused: dict[str, int]
) -> tuple[list[Example], Supervision]:
    places = [place for place, group in groups.items() if all(len(segment.tokens) < context for segment in group)]
    kept = [groups[place] for place in places]
    if not kept:
        raise InputError(
            f"none of {len(groups)} rows fits into {context} tokens", hint="raise context_length or give shorter text"
        )
    segments = [segment for group in kept for segment in group]
    supervision = Supervision(
        rows=len(groups) + sum(refused.values()),
        kept=len(kept),
        too_long=len(groups) - len(kept),
        tokens=sum(len(segment.tokens) for segment in segments),
        supervised=sum(weight > 0 for segment in segments for weight in segment.weights),
        refused=refused,
        places=tuple(places),
    )
    return [Example(group) for group in kept], supervision
