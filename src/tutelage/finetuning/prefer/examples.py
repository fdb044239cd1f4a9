"""Preference rows to training examples: pairs of answers, judged answers, and KTO's mismatched answers."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.finetuning.examples import Encoded, Row, Supervision, asked_of, encoded, segment_of, supervised
from tutelage.finetuning.reading import Reading, reading_of, together
from tutelage.store.errors import InputError
from tutelage.tokenizer.chat import Rendered
from tutelage.tokenizer.messages import Message
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.data.packing import Example, Segment, branched


def encode_pairs(tok: Tokenizer, rows: Sequence[Row], branches: bool = True) -> Encoded:
    """The chosen and the rejected conversation of each row.

    They are two branches of one document, so that their common prefix is computed once; or, without `branches` (for a
    model that does not support them), two documents. Extras: `side`, +1 at the target tokens of the chosen answer and
    -1 at those of the rejected one (answers in the shared turns are no targets); `pair`, the number of the example,
    from 0, after dropping.
    """

    def encode(row: Row) -> tuple[list[Segment], Reading]:
        found = [_supervised(tok, row, row[key]) for key in ("chosen", "rejected")]
        pair = [_segment(*one, side) for one, side in zip(found, (1.0, -1.0), strict=True)]
        pair = [branched(pair)] if branches else pair
        return pair, together([reading_of(*found[0]), reading_of(*found[1], since=pair[0].shared)])

    return encoded(rows, encode, numbered=True)


def encode_judged(tok: Tokenizer, rows: Sequence[Row]) -> Encoded:
    """One conversation per row with a judged answer. Extras: `side`, +1 if desirable, else -1; `pair`, the number of
    the example, from 0, after dropping."""

    def encode(row: Row) -> tuple[list[Segment], Reading]:
        found = _supervised(tok, row, row["completion"])
        return [_segment(*found, 1.0 if row["label"] else -1.0)], reading_of(*found)

    return encoded(rows, encode, numbered=True)


def preference_examples(
    tok: Tokenizer, rows: Sequence[Row], context: int, branches: bool = True
) -> tuple[list[Example], Supervision]:
    """One example per pair; a pair is dropped if either side exceeds the context. See `encode_pairs`."""
    return encode_pairs(tok, rows, branches).fitting(context)


def judged_examples(tok: Tokenizer, rows: Sequence[Row], context: int) -> tuple[list[Example], Supervision]:
    """One example per judged answer that fits. See `encode_judged`."""
    return encode_judged(tok, rows).fitting(context)


def mismatched_examples(tok: Tokenizer, rows: Sequence[Row], context: int, more: Sequence[Row] = ()) -> list[Example]:
    """Each row's prompt with the answer of the next row that has another prompt (cyclic, `more` after `rows`).

    KTO estimates its reference point from them. Those longer than `context` are dropped. Raises InputError if all
    prompts are equal.
    """
    pool = [*rows, *more]
    asked = [asked_of(row) for row in pool]
    mismatched = []
    for place, row in enumerate(rows):
        others = (other % len(pool) for other in range(place + 1, place + len(pool)))
        found = next((other for other in others if asked[other] != asked[place]), None)
        if found is not None:
            mismatched.append({**row, "completion": pool[found]["completion"]})
    if not mismatched:
        raise InputError(
            "all rows have the same prompt: KTO needs answers to other prompts for its reference point",
            hint="give rows with different prompts, or --set loss=apo_zero_unpaired",
        )
    return judged_examples(tok, mismatched, context)[0]


def _supervised(tok: Tokenizer, row: Row, answer: str) -> tuple[Rendered, list[float]]:
    """The answer after the turns of its prompt; only the answer is a target."""
    asked = asked_of(row)
    return supervised(tok, [*asked, Message("assistant", answer)], [*(0.0 for _ in asked), 1.0])


def _segment(rendered: Rendered, weight_at: Sequence[float], side: float) -> Segment:
    segment = segment_of(rendered, weight_at)
    segment.extras["side"] = [side * weight for weight in segment.weights]
    return segment
