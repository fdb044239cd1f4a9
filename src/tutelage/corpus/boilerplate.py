"""Text that comes with every document and belongs to none: headers and licences of Project Gutenberg."""

from __future__ import annotations

import re

_START = re.compile(
    r"^[ \t]*\*\*\* ?START OF (?:THE|THIS) PROJECT GUTENBERG[^\n]*(?:\n[^\n*]+)?\*\*\*[^\n]*$", re.MULTILINE
)
_SMALL_PRINT = re.compile(r"^\*END\*? ?THE SMALL PRINT![^\n]*$", re.MULTILINE)  # before 2003
_END = re.compile(
    r"^[ \t]*(?:\*\*\* ?END OF (?:THE|THIS) PROJECT GUTENBERG|End of (?:the |this )?Project Gutenberg)", re.MULTILINE
)
_CREDITS = re.compile(r"\s*(?:Produced by|E-text prepared by|Transcribed from)[^\n]*(?:\n[^\n]+)*\n\s*\n")


def without_gutenberg(text: str) -> tuple[str, int]:
    """A Project Gutenberg book without its header and licence, and the number of characters that went (else 0)."""
    start = _START.search(text) or _SMALL_PRINT.search(text)
    if start is None:
        return text, 0
    end = _END.search(text, start.end())
    body = text[start.end() : end.start() if end else len(text)]
    if credits := _CREDITS.match(body):
        body = body[credits.end() :]
    return body, len(text) - len(body)
