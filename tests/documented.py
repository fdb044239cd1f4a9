"""What the documentation says, for the tests that check it: code blocks, commands, Python, links, anchors."""

from __future__ import annotations

import itertools
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

import tutelage

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("skills/**/*.md")])
ELLIPSIS = ("...", "…")
_ASSIGNMENT = re.compile(r"[A-Z_]+=\S*")


@dataclass(frozen=True)
class Piece:
    """Something that a page says, and where: `language` of a fenced block, None of code inside a sentence."""

    page: Path
    line: int
    text: str
    language: str | None = None

    def __str__(self) -> str:
        return f"{os.path.relpath(self.page, ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """The arguments of `tutelage`. `whole`: it can be typed as it stands; in a sentence much may be left out."""

    piece: Piece
    arguments: tuple[str, ...]
    whole: bool

    def __str__(self) -> str:
        return f"{self.piece}: tutelage {shlex.join(self.arguments)}"


@cache
def tokens(page: Path) -> tuple[Token, ...]:
    return tuple(MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")))


def fenced(page: Path) -> list[Piece]:
    """Blocks of code, indented ones too; the line is that of their first line of text."""
    return [
        Piece(page, token.map[0] + (2 if token.type == "fence" else 1), token.content, token.info.strip())
        for token in tokens(page)
        if token.type in ("fence", "code_block") and token.map
    ]


def python(page: Path) -> list[Piece]:
    return [block for block in fenced(page) if block.language == "python"]


def run_blocks(page: Path, given: dict[str, Any]) -> None:
    """Run a page's Python, one block after another, in one namespace; lines of a traceback are those of the page."""
    namespace = {"tutelage": tutelage, **given}
    for block in python(page):
        exec(compile("\n" * (block.line - 1) + block.text, page, "exec"), namespace)


def inline(page: Path, kind: str) -> Iterator[tuple[int, Token]]:
    """Tokens of a kind inside paragraphs, headings and cells, with their lines."""
    for token in tokens(page):
        line = token.map[0] + 1 if token.map else 0
        for child in token.children or ():
            line += child.type in ("softbreak", "hardbreak")
            if child.type == kind:
                yield line, child


def spans(page: Path) -> list[Piece]:
    """Code inside sentences."""
    return [Piece(page, line, token.content) for line, token in inline(page, "code_inline")]


def links(page: Path) -> list[Piece]:
    """Where relative links and images lead to, as written."""
    found = [(line, str(token.attrs["href"])) for line, token in inline(page, "link_open")]
    found += [(line, str(token.attrs["src"])) for line, token in inline(page, "image")]
    return [Piece(page, line, target) for line, target in found if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """What `page#...` may name: headings as GitHub spells them."""
    every = tokens(page)
    titles = [after.content for token, after in itertools.pairwise(every) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


def commands(page: Path, verbs: frozenset[str]) -> list[Command]:
    """Every use of the command line: lines of fenced blocks, and code in sentences that begins with `tutelage` or, with
    more words behind it, with a verb."""
    found = []
    for block in fenced(page):
        if block.language in ("", "sh", "bash", "console"):
            for number, line in enumerate(block.text.replace("\\\n", " ").splitlines()):
                piece = Piece(page, block.line + number, line)
                found += [Command(piece, words, whole=True) for words in typed(line)]
    return found + [
        Command(piece, words, whole=False) for piece in spans(page) for words in mentioned(piece.text, verbs)
    ]


def typed(line: str) -> list[tuple[str, ...]]:
    """The arguments of each `tutelage` in a line of shell, also behind `python -m` or `torchrun ... -m`."""
    if "tutelage" not in line:
        return []
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        every = list(lexer)
    except ValueError:  # a lone quotation mark: output of a program, or a command that is wrong
        return [(line,)] if re.match(r"(\$ )?tutelage ", line) else []
    found = []
    for is_operator, group in itertools.groupby(every, lambda word: set(word) <= set("|&;<>()")):
        words = ["-m", *itertools.dropwhile(lambda word: _ASSIGNMENT.fullmatch(word) or word == "$", group)]
        starts = [at for at, pair in enumerate(itertools.pairwise(words), 2) if pair == ("-m", "tutelage")]
        if starts and not is_operator:
            found.append(tuple(words[starts[0] :]))
    return found


def mentioned(text: str, verbs: frozenset[str]) -> list[tuple[str, ...]]:
    """The arguments that code in a sentence stands for; `a|b` and `a | b` are alternatives, each of which is meant."""
    text = re.sub(r"\s*\|\s*", "|", text)
    first, _, rest = text.partition(" ")
    if first != "tutelage" and (first.split("|")[0] not in verbs or not rest):
        return []
    try:
        words = shlex.split(rest if first == "tutelage" else text)
    except ValueError:  # a lone quotation mark: no command
        return []
    words = [word for word in words if word not in ELLIPSIS]  # whatever goes there
    return list(itertools.product(*(word.split("|") for word in words)))
