"""Text that comes with every document and belongs to none: licences of Project Gutenberg, banners, footers."""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np

from tutelage.corpus.document import Document

_START = re.compile(
    r"^[ \t]*\*\*\* ?START OF (?:THE|THIS) PROJECT GUTENBERG[^\n]*(?:\n[^\n*]+)?\*\*\*[^\n]*$", re.MULTILINE
)
_SMALL_PRINT = re.compile(r"^\*END\*? ?THE SMALL PRINT![^\n]*$", re.MULTILINE)  # before 2003
_END = re.compile(
    r"^[ \t]*(?:\*\*\* ?END OF (?:THE|THIS) PROJECT GUTENBERG|End of (?:the |this )?Project Gutenberg)", re.MULTILINE
)
_CREDITS = re.compile(r"\s*(?:Produced by|E-text prepared by|Transcribed from)[^\n]*(?:\n[^\n]+)*\n\s*\n")
_SHORTEST_BANNER = 40  # characters; shorter paragraphs ("Yes.") are common without being banners
_FEWEST, _SHARE = 5, 0.02  # documents that share a paragraph, at least, and as a share of all


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


@dataclass(slots=True)
class Banners:
    """What was taken out as banners: documents that stay (shorter), those of which nothing stays, and pieces."""

    documents: list[Document] = field(default_factory=list)
    emptied: list[Document] = field(default_factory=list)
    pieces: Counter[str] = field(default_factory=Counter)  # paragraph -> times it was taken out
    bytes: int = 0


def without_banners(documents: list[Document]) -> Banners:
    """Paragraphs that at least five texts, and 2 % of them, have in common stay in the first of them only.

    The pieces of one text count once. Paragraphs of fewer than 40 characters are left alone.
    """
    groups = len({document.group for document in documents})
    limit = max(_FEWEST, math.ceil(_SHARE * groups))
    if groups < limit:
        return Banners(list(documents))
    keys = array("q")
    for document in documents:
        keys.extend({hash(one) for one in _paragraphs(document) if len(one) >= _SHORTEST_BANNER})
    values, counts = np.unique(np.frombuffer(keys, np.int64), return_counts=True)
    common = set(values[counts >= limit].tolist())  # pieces of one text may be among them
    holders: dict[int, set[str]] = defaultdict(set)
    for document in documents if common else ():
        for one in _paragraphs(document):
            if hash(one) in common:
                holders[hash(one)].add(document.group)
    banners = {key for key, groups_of in holders.items() if len(groups_of) >= limit}
    if not banners:
        return Banners(list(documents))
    found = Banners()
    met: set[int] = set()
    for document in documents:
        kept = []
        for paragraph in document.text.split("\n\n"):
            key = _key(paragraph)
            if hash(key) not in banners:
                kept.append(paragraph)
            elif hash(key) not in met:
                met.add(hash(key))
                kept.append(paragraph)
            else:
                found.pieces[key] += 1
                found.bytes += len(paragraph.encode("utf-8"))
        text = "\n\n".join(kept).strip("\n")
        if not text.strip():
            found.emptied.append(document)
        else:
            found.documents.append(document.with_text(text) if len(text) != len(document.text) else document)
    return found


def _paragraphs(document: Document) -> list[str]:
    return [_key(paragraph) for paragraph in document.text.split("\n\n")]


def _key(paragraph: str) -> str:
    return " ".join(paragraph.split())
