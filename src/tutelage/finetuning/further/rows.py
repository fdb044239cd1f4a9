"""From documents and conversations to examples, and how much of the old is read among the new."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tutelage.finetuning.data import Row
from tutelage.finetuning.examples import conversation_segment, messages_of
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.data.packing import Example, Segment


@dataclass(frozen=True)
class Mixed:
    """Examples to train on: tokens of the new text and of the old, and how often the old is gone through."""

    examples: list[Example]
    new_tokens: int
    old_tokens: int
    old_passes: float


def document_examples(tok: Tokenizer, rows: Iterable[Row], length: int) -> list[Example]:
    """Examples of documents {"text"}, each after what begins a text, learning to end with the end-of-text token.

    Never with the end of a turn, which chat models name as `eos_token`. One that was cut (`ended` is false) does not
    learn to end. One longer than `length` is cut into pieces, and every token is predicted exactly once.
    """
    rows = list(rows)
    examples = []
    for row, ids in zip(rows, tok.encode_batch([row["text"] for row in rows]), strict=True):
        stream = [tok.start_id, *ids, *([tok.end_of_text_id] if row.get("ended", True) else [])]
        for at in range(0, len(stream) - 1, length):
            piece = stream[at : at + length + 1]
            examples.append(Example([Segment(piece[:-1], piece[1:], [1.0] * (len(piece) - 1))]))
    return examples


def replay_examples(tok: Tokenizer, rows: Sequence[Row], length: int) -> list[Example]:
    """Examples of documents {"text"} and of conversations {"prompt", "response"}, of which the answers are learned.

    A conversation longer than `length` is left out.
    """
    documents = document_examples(tok, [row for row in rows if "text" in row], length)
    chats = [Example([_answer(tok, row)]) for row in rows if "response" in row]
    return documents + [chat for chat in chats if chat.length <= length]


def _answer(tok: Tokenizer, row: Row) -> Segment:
    """A conversation of which the answer is learned; one that was cut does not learn to stop."""
    whole = conversation_segment(tok, messages_of(row))
    if row.get("ended", True):
        return whole
    return Segment(whole.tokens[:-1], whole.targets[:-1], whole.weights[:-1])


def mixed(new: Sequence[Example], old: Sequence[Example], share: float) -> Mixed:
    """The new examples with so many of the old that these are `share` of all tokens, in turn and again from the first.

    `share` counts by whole examples: the last one may go over.
    """
    new_tokens = _tokens(new)
    wanted = share / (1 - share) * new_tokens if old else 0.0
    taken: list[Example] = []
    tokens = 0
    while tokens < wanted:
        taken.append(old[len(taken) % len(old)])
        tokens += taken[-1].length
    return Mixed([*new, *taken], new_tokens, tokens, len(taken) / len(old) if old else 0.0)


def _tokens(examples: Iterable[Example]) -> int:
    return sum(example.length for example in examples)
