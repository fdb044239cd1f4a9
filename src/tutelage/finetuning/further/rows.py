"""Training examples of documents and conversations, and the mixture of new and replayed text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tutelage.finetuning.data import Row
from tutelage.finetuning.examples import conversation_segment, messages_of
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.data.packing import Example, Segment


@dataclass(frozen=True)
class Mixed:
    """Training examples, with token counts of the new and the old text, and the number of passes over the old."""

    examples: list[Example]
    new_tokens: int
    old_tokens: int
    old_passes: float


def document_examples(tok: Tokenizer, rows: Iterable[Row], length: int) -> list[Example]:
    """Examples of documents {"text"}, each from the start token to the end-of-text token.

    The end-of-text token is not the end of a turn, which chat models declare as `eos_token`. A truncated document
    (`ended` is false) has no end token. One longer than `length` is split; every token is a target exactly once.
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
    """Examples of documents {"text"} and of conversations {"prompt", "response"}, where only answers are targets.

    A conversation longer than `length` is dropped.
    """
    documents = document_examples(tok, [row for row in rows if "text" in row], length)
    chats = [Example([_answer(tok, row)]) for row in rows if "response" in row]
    return documents + [chat for chat in chats if chat.length <= length]


def _answer(tok: Tokenizer, row: Row) -> Segment:
    """A conversation whose answer is the target; without the end token if the answer was truncated."""
    whole = conversation_segment(tok, messages_of(row))
    if row.get("ended", True):
        return whole
    return Segment(whole.tokens[:-1], whole.targets[:-1], whole.weights[:-1])


def mixed(new: Sequence[Example], old: Sequence[Example], share: float) -> Mixed:
    """The new examples with enough old ones to make up `share` of all tokens, cycling through the old.

    Only whole examples are added, so the share may be slightly exceeded.
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
