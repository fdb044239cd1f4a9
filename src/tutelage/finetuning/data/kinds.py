"""What a file is, where it is not what was asked for: an error that names the method which fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.finetuning.data.fields import Fields
from tutelage.finetuning.data.reading import is_false, is_judgement
from tutelage.finetuning.data.records import Source
from tutelage.store.errors import InputError

CHOSEN = ("chosen", "chosen_response", "response_j", "preferred", "better")
REJECTED = ("rejected", "rejected_response", "response_k", "dispreferred", "non_preferred", "worse")
JUDGED = ("label", "kto_tag")
ASKED = ("prompt", "question", "query", "instruction", "instructions", "user", "input")
LABELS = ("label_text", "label_name", "label", "labels", "sentiment", "category", "class", "intent", "topic", "target",
          "tag", "rating", "stars", "polarity", "emotion")  # fmt: skip
# Words for a judgement, beside yes and no.
_GOOD = ("good", "desirable", "chosen", "accepted", "up", "thumbs_up", "thumbs up", "upvote", "like", "👍", "+1")
_BAD = ("bad", "undesirable", "rejected", "down", "thumbs_down", "thumbs down", "downvote", "dislike", "👎", "-1",
        "-1.0")  # fmt: skip
_RATED = ("score", "rating", "reward", "quality", *JUDGED)
ANSWERED = ("messages", "conversations", "completion", "response", "output", "answer")


def refuse_pairs(source: Source, columns: Mapping[str, str] | None) -> None:
    """Raise InputError where rows hold a chosen and a rejected answer: the rejected one is not to be learned."""
    count = sum(fields.has(*REJECTED) for fields in _fields(source, columns))
    if count:
        raise InputError(
            f"{source.file} is preference data: {count} of {len(source.records)} rows have a rejected answer",
            hint="use the method 'prefer' with it; to learn the chosen answers alone, make a file without 'rejected'",
        )


def judgements(source: Source, columns: Mapping[str, str] | None) -> list[bool]:
    """Of a file whose answers are judged good or bad one by one (KTO) every judgement; nothing of any other file."""
    judged = [
        fields.take(*JUDGED) for fields in _fields(source, columns) if fields.has(*JUDGED) and fields.has(*ANSWERED)
    ]
    # true, false and words for them are judgements even where other rows hold something else; 0 and 1 may be names of
    # classes.
    told = [judgement(value) for value in judged]
    words = sum(one is not None and not _is_number(value) for one, value in zip(told, judged, strict=True))
    if None in told and not any(isinstance(value, bool) for value in judged) and 2 * words < len(judged):
        return []
    return [answer is not False for answer in told]


def _is_number(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and float(value) is not None
    except (TypeError, ValueError):
        return False


def judgement(value: Any) -> bool | None:
    """Whether an answer is judged good; None where a value is no judgement."""
    word = str(value).strip().lower()
    if is_judgement(value) or word in (*_GOOD, *_BAD):
        return not is_false(value) and word not in _BAD
    return None


def refuse_judged(source: Source, columns: Mapping[str, str] | None, wanted: str) -> None:
    """Raise InputError where answers are judged good or bad one by one and some are bad, or pairs are wanted."""
    judged = judgements(source, columns)
    bad = judged.count(False)
    if bad or (judged and wanted != "instruct"):
        hint = {
            "instruct": "a bad answer is never learned: use the method 'prefer', which learns from both kinds, or keep "
            "only the rows whose label is true",
            "prefer": "they are learned with loss 'kto' (or 'apo_zero_unpaired'); other losses need a chosen and a "
            "rejected answer to each prompt",
            "reward": "'reward' needs a chosen and a rejected answer to each prompt; judged answers are for the method "
            "'prefer'",
        }[wanted]
        raise InputError(
            f"{source.file} is unpaired preference data (KTO): {bad} of {len(source.records)} answers are judged bad "
            "(by 'label')",
            hint=hint,
        )


def refuse_unpaired(source: Source, columns: Mapping[str, str] | None) -> None:
    """Raise InputError where no row of a file meant for preferences has a rejected answer."""
    fields = list(_fields(source, columns))
    if any(item.has(*REJECTED) for item in fields) or not any(item.has(*ANSWERED) for item in fields):
        return
    if all(item.has("text") for item in fields):
        return
    rated = next((name for name in _RATED if all(item.has(name) for item in fields)), None)
    hint = "questions with one answer each are for the method 'instruct'"
    if rated:
        hint = (f"where {rated!r} rates the answers: make pairs of a better and a worse answer to the same prompt "
                "(chosen, rejected), or judge each (label: true or false)")  # fmt: skip
    raise InputError(f"{source.file} has answers, but no row with a chosen and a rejected one", hint=hint)


def refuse_other(source: Source, columns: Mapping[str, str] | None, asked: str) -> None:
    """Raise InputError, naming the command that fits, where no row is of the method that is asked for but rows are of
    another. Columns that are named by the user are taken at their word."""
    if columns:
        return
    there = kinds_of(source, columns)
    if asked in there or not there:
        return
    other = there[0]
    # A file of unpaired judgements, or of answers for 'prefer', has a word of its own.
    if asked == "prefer" and other == "instruct":
        return
    raise InputError(
        f"{source.file} holds {_WHAT[other]}, not {_WHAT[asked]}", hint=f"tutelage finetune {other} {source.file}"
    )


def kinds_of(source: Source, columns: Mapping[str, str] | None = None) -> list[str]:
    """The methods (prefer, instruct, translate, classify) that could use some record by its fields, likeliest first."""
    there = {kind for fields in _fields(source, columns) for kind in _kinds(fields)}
    return [kind for kind in ("prefer", "instruct", "translate", "classify") if kind in there]


_BOTH_SIDES = (("source", "target"), ("src", "tgt"))  # a text and its translation
_WHAT = {
    "classify": "texts with labels",
    "instruct": "conversations (questions with answers)",
    "prefer": "pairs of a chosen and a rejected answer",
    "translate": "texts with their translations",
}


def _kinds(fields: Fields) -> set[str]:
    """The methods that could use a record, by its fields alone."""
    found = set()
    if fields.has(*REJECTED):
        found.add("prefer")
    talk = fields.has("messages", "conversations", "conversation", "dialogue")
    if talk or (fields.has(*ASKED) and fields.has(*ANSWERED)):
        found.add("instruct")
    if fields.has("translation") or any(fields.has(one) and fields.has(other) for one, other in _BOTH_SIDES):
        found.add("translate")
    elif any(fields.has(name) for name in LABELS):
        found.add("classify")
    return found


def _fields(source: Source, columns: Mapping[str, str] | None) -> list[Fields]:
    return [Fields(record, columns) for record in source.rows]
