"""Lists and objects that a table holds as text: as JSON writes them, as Python does, or as numpy arrays are printed.

pandas writes a column of lists in one of the latter two forms, so that most conversations exported to CSV look so.
"""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
import warnings
from typing import Any

LONGEST = 1 << 20  # characters that are looked at as Python
# Between the elements of a printed array there is white space alone; line breaks inside texts are written as \\n.
_ELEMENTS = re.compile(r"(?<=[}\]])\s*\n\s*(?=[{\[])")
_NUMBERS = re.compile(r"\[\s*[-+.\deE]+(?:\s+[-+.\deE]+)+\s*\]")


def written(text: str) -> list[Any] | dict[str, Any] | None:
    """The list or object that a text is; None where it is none."""
    text = text.strip()
    if (text[:1], text[-1:]) not in (("[", "]"), ("{", "}")):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = _python(text) if len(text) <= LONGEST else None
    return found if isinstance(found, (list, dict)) else None


def _python(text: str) -> Any:
    """Value of a text in Python's notation, elements of arrays apart by white space included."""
    if _NUMBERS.fullmatch(text):
        text = re.sub(r"\s+", ",", text.strip("[] \t\n")).join("[]")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `C:\\dir` in a text is no fault of the file
            return ast.literal_eval(_apart(_ELEMENTS.sub(", ", text)))
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError, tokenize.TokenError):
        return None


def _apart(text: str) -> str:
    """With a comma between two texts that follow each other: Python would join `['a' 'b']` to one, `['ab']`."""
    made: list[str] = []
    line_starts = [0]
    for line in text.split("\n"):
        line_starts.append(line_starts[-1] + len(line) + 1)
    before, done = None, 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.NL, tokenize.NEWLINE):
            continue
        if token.type == before == tokenize.STRING:
            place = line_starts[token.start[0] - 1] + token.start[1]
            made += [text[done:place], ", "]
            done = place
        before = token.type
    return "".join([*made, text[done:]])
