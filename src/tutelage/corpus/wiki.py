"""MediaWiki dumps (XML): articles as plain text, page by page, in little memory."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import BinaryIO
from xml.etree import ElementTree

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
# What stands between these tags is no running text.
_DROPPED = re.compile(
    r"<(ref|math|gallery|timeline|source|syntaxhighlight|score|imagemap|code|pre|nowiki)\b[^<>]*?"
    r"(?:/>|>.*?</\1\s*>)",
    re.DOTALL | re.IGNORECASE,
)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_INNERMOST = re.compile(r"\{\{[^{}]*\}\}|\{\{\{[^{}]*\}\}\}")
_TABLE = re.compile(r"^[:*# ]*\{\|(?:(?!^[:*# ]*\{\|).)*?^\|\}", re.DOTALL | re.MULTILINE)
# Files and categories, with links in their captions; `[[de:Wort]]` are links to other languages.
_MEDIA = re.compile(
    r"\[\[(?:File|Image|Media|Category|[a-z]{2,3}(?:-[a-z]+)*):(?:[^\[\]]|\[\[[^\[\]]*\]\])*\]\]", re.IGNORECASE
)
_LINK = re.compile(r"\[\[(?:[^\[\]|]*\|)?([^\[\]|]*)\]\]")
_EXTERNAL = re.compile(r"\[(?:https?|ftp)://\S+\s*([^\]]*)\]")
_HEADING = re.compile(r"^(=+)\s*(.*?)\s*\1\s*$", re.MULTILINE)
_ITEM = re.compile(r"^[*#:;]+\s*", re.MULTILINE)
_QUOTES = re.compile("'{2,5}")
_SWITCH = re.compile(r"__[A-Z]{4,}__")
_EMPTY_BRACKETS = re.compile(r"\s?\(\s*[,;]?\s*\)")


class NotWiki(ValueError):
    """XML that is no MediaWiki dump; the message names its root element."""


def wiki_pages(stream: BinaryIO) -> Iterator[tuple[str, str | None, str]]:
    """(title, why it is left out or None, wikitext) of each page of a dump.

    Left out are redirects and pages outside the main namespace (talk, users, templates ...). Raises NotWiki, and
    `ElementTree.ParseError` where the XML is damaged.
    """
    root: ElementTree.Element | None = None
    for event, element in ElementTree.iterparse(stream, events=("start", "end")):
        if root is None:
            root = element
            if _tag(element) != "mediawiki":
                raise NotWiki(_tag(element))
        if event == "end" and _tag(element) == "page":
            parts = {_tag(item): item.text or "" for item in element.iter()}
            reason = None
            if "redirect" in parts:
                reason = "redirects"
            elif parts.get("ns", "0").strip() != "0":
                reason = "pages outside the main namespace"
            yield parts.get("title", ""), reason, parts.get("text", "")
            root.clear()  # else every page stays in memory


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rsplit("}", 1)[-1]


def plain_text(wikitext: str) -> str:
    """Running text of wikitext: templates, tables, references, files and markup go; link texts and headings stay.

    Simple on purpose: no template is expanded, so that what only a template says is lost.
    """
    text = _DROPPED.sub("", _COMMENT.sub("", wikitext))
    text = _repeat(_INNERMOST, "", text)
    text = _repeat(_TABLE, "", text)
    text = _repeat(_MEDIA, "", text)
    text = _LINK.sub(r"\1", text)
    text = _EXTERNAL.sub(r"\1", text)
    text = _HEADING.sub(r"\n\2\n", text)
    text = _ITEM.sub("", _SWITCH.sub("", _QUOTES.sub("", text)))
    text = _EMPTY_BRACKETS.sub("", _TAG.sub("", text))
    return html.unescape(text).strip()


def _repeat(pattern: re.Pattern[str], by: str, text: str) -> str:
    """Replace from the innermost outwards, to a bounded depth."""
    for _ in range(20):
        shorter = pattern.sub(by, text)
        if shorter == text:
            break
        text = shorter
    return text
