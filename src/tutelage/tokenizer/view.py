"""A text in the colours of its tokens, under several tokenizers: spans for a terminal, and a page without a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from tutelage.tokenizer.measures import pieces
from tutelage.tokenizer.tokenizer import Tokenizer

COLOURS = ("#cfe3ff", "#ffe3b8", "#cdebd0", "#f6d1dc", "#e2d6f7")
"""Backgrounds on which black has a contrast of 12 to 1 and more; neighbours never share one."""


@dataclass(frozen=True)
class View:
    """`pieces`: the tokens as text; bytes that are not a whole character are U+FFFD. `ids`: their ids."""

    name: str
    pieces: tuple[str, ...]
    ids: tuple[int, ...]

    @property
    def coloured(self) -> list[tuple[str, str]]:
        """(piece, colour) of each token."""
        return [(piece, COLOURS[at % len(COLOURS)]) for at, piece in enumerate(self.pieces)]


def views(tokenizers: Mapping[str, Tokenizer], text: str) -> list[View]:
    return [View(name, tuple(pieces(tok, text)), tuple(tok.encode(text))) for name, tok in tokenizers.items()]


def page(shown: list[View], text: str) -> str:
    """The views as one HTML page; a token's id is its title."""
    size = len(text.encode("utf-8"))
    parts = [_HEAD]
    for view in shown:
        per = size / max(1, len(view.ids))
        parts.append(f"<h2>{escape(view.name)}</h2><p>{len(view.ids):,} tokens, {per:.2f} bytes for each</p><pre>")
        for (piece, colour), index in zip(view.coloured, view.ids, strict=True):
            visible = escape(piece).replace("\n", "⏎\n") or "∅"
            parts.append(f'<span style="background:{colour}" title="{index}">{visible}</span>')
        parts.append("</pre>")
    return "".join([*parts, "</main></body></html>\n"])


_HEAD = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Tokens</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1"><style>'
    "body{font:16px/1.5 system-ui,sans-serif;margin:0;color:#111;background:#fff}main{max-width:60rem;margin:auto;"
    "padding:1rem}pre{white-space:pre-wrap;overflow-wrap:anywhere;font:14px/1.9 ui-monospace,monospace}"
    "span{border-radius:3px;color:#111}</style></head><body><main><h1>Tokens</h1>"
)
