"""Which choice is right in a user's own rows: by number, letter, key or text, decided over all rows together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tutelage.evaluation.bench.sources import Row
from tutelage.evaluation.bench.templates import value_of
from tutelage.store.errors import InputError

_FEW = 10  # with fewer rows, it is unremarkable that the first choice is never right
_LETTERS = "'ABCDEFGHIJKLMNOPQRSTUVWXYZ'"
_LETTER = re.compile(r"[(\[]?([A-Za-z])[)\].:]?")  # A, (A), A), A.
_FILLED = " | filled"


def gold_of(rows: Sequence[Row], listed: str, right: str, file: str) -> tuple[str, list[str]]:
    """The expression of the right choice's index or text, and notes on it.

    listed, right: the expressions of the choices and of the right answer. Whether a number is a choice's text, or its
    index from 0 or from 1, is decided over all rows together. Raises InputError if it is ambiguous, or if the answer of
    a row is none of its choices.
    """
    where = f"{file}, row "
    given = [value_of(right, row, f"{where}{number}") for number, row in enumerate(rows, 1)]
    texts = [_texts(listed, row, f"{where}{number}") for number, row in enumerate(rows, 1)]
    if any(isinstance(value, (list, tuple)) for value in given):
        return right, []
    if keys := _keys(rows, listed, right, given, file):
        return keys, []
    said = _said_twice(texts)
    by_text = all(str(value) in there for value, there in zip(given, texts, strict=True))
    numbers = [_whole(value) for value in given]
    counted = [number for number in numbers if number is not None]
    if len(counted) == len(rows):
        first = _first(counted, [len(there) for there in texts])
        places = [number - first for number in counted]
        inside = [0 <= place < len(there) for place, there in zip(places, texts, strict=True)]
        agree = all(inside) and all(
            there[place] == str(value) for place, there, value in zip(places, texts, given, strict=True)
        )
        if by_text and all(inside) and not agree and not all(isinstance(value, str) for value in given):
            raise InputError(
                f"{file}: {right!r} may be the text of the right choice or its number",
                hint=f'set one: --gold "{right}|string" (its text) or --gold "{right}|int" (its number from 0)',
            )
        if by_text:
            return f"{right}|string", said
        if not all(inside):
            row = inside.index(False)
            raise _none_of_them(where, row, given[row], texts[row], right)
        if first:
            return f"{right}|int - 1", [*said, f"{right!r} counts the choices from 1"]
        if min(counted) > 0 and len(rows) >= _FEW:
            said.append(f"the first choice is never the right answer: {right!r} is read as an index from 0")
        return right, said
    if by_text:
        return right, said
    return _by_letter(given, texts, right, where) or _but_for_case(given, texts, listed, right, where), said


def _texts(listed: str, row: Row, where: str) -> list[str]:
    """The texts of a row's choices. Raises InputError where they are no list of two or more."""
    found = value_of(listed, row, where)
    if isinstance(found, str) or not isinstance(found, (list, tuple)) or len(found) < 2:
        raise InputError(
            f"{where}: {listed!r} does not evaluate to a list of two or more choices",
            hint="in a table, each choice has its own column (A, B, C); lists require .jsonl, .json or .parquet",
        )
    if listed.endswith(_FILLED):
        every = value_of(listed.removesuffix(_FILLED), row, where)
        if list(every[: len(found)]) != list(found):
            raise InputError(
                f"{where}: an empty choice stands before another one",
                hint="leave empty only the last choices of a row: letters and numbers count them",
            )
    for one in found:
        if one is None or not str(one).strip():
            raise InputError(
                f"{where}: a choice is empty", hint="fix or remove the row: a benchmark does not skip rows"
            )
    return [str(one) for one in found]


def _keys(rows: Sequence[Row], listed: str, gold: str, given: Sequence[Any], file: str) -> str | None:
    """The expression where every answer is the key of its choice: a label of ARC's, or the letter in an object."""
    right = None
    if listed.endswith(".text"):
        right = listed.removesuffix(".text") + ".label"
    elif listed.endswith(".values() | list"):
        right = listed.removesuffix(".values() | list") + " | list"
    if right and all(value in value_of(right, row, file) for value, row in zip(given, rows, strict=True)):
        return f"({right}).index({gold})"
    return None


def _by_letter(given: Sequence[Any], texts: Sequence[Sequence[str]], right: str, where: str) -> str | None:
    """The expression where every answer is a letter, perhaps in brackets or before a full stop."""
    found = [_LETTER.fullmatch(value.strip()) if isinstance(value, str) else None for value in given]
    letters = [one[1].upper() for one in found if one]
    if len(letters) < len(given) or any(value in there for value, there in zip(given, texts, strict=True)):
        return None
    for row, (letter, there) in enumerate(zip(letters, texts, strict=True)):
        if ord(letter) - ord("A") >= len(there):
            raise _none_of_them(where, row, given[row], there, right)
    return f"{_LETTERS}.index({right} | regex_replace('[^A-Za-z]', '') | upper)"


def _but_for_case(given: Sequence[Any], texts: Sequence[Sequence[str]], listed: str, right: str, where: str) -> str:
    """The expression where every answer is a choice but for case and outer white space. Raises InputError naming the
    first row whose answer is none."""
    for row, (value, there) in enumerate(zip(given, texts, strict=True)):
        alike = {text for text in there if text.strip().casefold() == str(value).strip().casefold()}
        if len(alike) != 1:
            raise _none_of_them(where, row, value, there, right)
    return f"{right} | place_in({listed})"


def _none_of_them(where: str, row: int, value: Any, there: Sequence[str], right: str) -> InputError:
    shown = ", ".join(repr(text[:40]) for text in there[:6])
    return InputError(
        f"{where}{row + 1}: {right!r} is {value!r}, which is none of its {len(there)} choices: {shown}",
        hint="it is the text of a choice, its letter, or its number from 0 (or, in all rows, from 1)",
    )


def _first(numbers: Sequence[int], sizes: Sequence[int]) -> int:
    """1 if the choice numbers must count from 1: none is 0, and one equals the number of choices; else 0."""
    inside = all(1 <= number <= size for number, size in zip(numbers, sizes, strict=True))
    return int(inside and any(number == size for number, size in zip(numbers, sizes, strict=True)))


def _whole(value: Any) -> int | None:
    if isinstance(value, bool):
        return int(value)
    try:
        return int(str(value).strip())
    except ValueError:
        return int(value) if isinstance(value, float) and value.is_integer() else None


def _said_twice(texts: Sequence[Sequence[str]]) -> list[str]:
    count = sum(len(set(there)) < len(there) for there in texts)
    return [f"{count} of {len(texts)} rows have the same choice twice; the first one counts"] if count else []
