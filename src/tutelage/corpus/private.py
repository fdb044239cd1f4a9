"""Personal data, blocked words and languages as steps of selection."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from tutelage.corpus.card import Step, Tally, make_step
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.document import Document
from tutelage.corpus.language import language_of
from tutelage.corpus.pii import KINDS, find_pii, redact
from tutelage.corpus.shelf import Shelf
from tutelage.corpus.workshop import Workshop
from tutelage.store.errors import ConfigError, InputError

_AROUND = 60  # characters before and after what is shown of a redaction


def without_pii(documents: Shelf, config: CorpusConfig, steps: list[Step], shop: Workshop) -> Shelf:
    """Personal data replaced by its kind (`redact`), or documents that have any taken out (`drop`)."""
    assert config.pii != "keep"
    kept, tally = shop.rewritten(documents, "personal data", _WithoutPii(config.pii, config.pii_kinds))
    looked = ", ".join(KINDS[kind] for kind in config.pii_kinds)
    done = "is replaced by its kind in brackets" if config.pii == "redact" else "takes its document out"
    what = f"Personal data {done}: {looked}. Found by patterns and checksums; names and addresses are not looked for."
    step = make_step("personal data", what, documents, kept, tally)
    step.pieces = tally.plain_pieces({kind: KINDS[kind] for kind in config.pii_kinds if tally.pieces[kind]})
    steps.append(step)
    return kept


@dataclass(frozen=True, slots=True)
class _WithoutPii:
    action: Literal["redact", "drop"]
    kinds: tuple[str, ...]

    def __call__(self, document: Document, row: int, tally: Tally) -> Document | None:
        found = find_pii(document.text, self.kinds)
        if not found:
            return document
        clean = document.with_text(redact(document.text, found))
        for kind, count in Counter(one.kind for one in found).items():
            size = sum(len(document.text[one.begin : one.end].encode()) for one in found if one.kind == kind)
            place = clean.text.find(f"[{kind}]")
            # The card must not show what was taken out, so it shows the text as it is after it.
            tally.piece(kind, count, size, clean.text[max(0, place - _AROUND) : place + _AROUND], document.id)
        if self.action == "redact":
            return clean
        tally.remove(clean, f"personal data: {found[0].kind}")
        return None


def without_blocked(documents: Shelf, config: CorpusConfig, steps: list[Step], shop: Workshop) -> Shelf:
    """Documents that have a word or phrase of the user's own list go."""
    blocked = read_blocklist(config.blocklist)
    kept, tally = shop.rewritten(documents, "blocklist", _WithoutBlocked(blocked))
    what = f"Documents that have one of {len(blocked):,} words or phrases of the blocklist, whatever their case, go."
    step = make_step("blocklist", what, documents, kept, tally)
    step.pieces = tally.plain_pieces(dict.fromkeys(sorted(tally.pieces), "documents that have it"))
    steps.append(step)
    return kept


def blocklist_file(place: str) -> Path:
    """Raises ConfigError where there is none."""
    path = Path(place).expanduser()
    if not path.is_file():
        raise ConfigError(f"there is no file {place}", hint="corpus.blocklist names a file of words, one a line")
    return path


def read_blocklist(place: str) -> tuple[str, ...]:
    """Words and phrases, one a line; lines that begin with # are remarks. Raises ConfigError, InputError."""
    lines = (" ".join(line.split()) for line in blocklist_file(place).read_text(encoding="utf-8").splitlines())
    words = tuple(sorted({line.lower() for line in lines if line and not line.startswith("#")}))
    if not words:
        raise InputError(f"{place} holds no word")
    return words


@dataclass(frozen=True, slots=True)
class _WithoutBlocked:
    words: tuple[str, ...]

    def __call__(self, document: Document, row: int, tally: Tally) -> Document | None:
        found = _pattern(self.words).search(" ".join(document.text.lower().split()))
        if found is None:
            return document
        tally.piece(found[0], 1, len(document.text.encode("utf-8")), "", document.id)
        tally.remove(document, "on the blocklist")
        return None


@lru_cache(maxsize=1)
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, sorted(words, key=len, reverse=True))) + r")(?!\w)")


def in_languages(documents: Shelf, config: CorpusConfig, steps: list[Step], shop: Workshop) -> Shelf:
    """Documents in one of the languages that are asked for."""
    kept, tally = shop.rewritten(documents, "languages", _InLanguages(frozenset(config.languages)))
    what = f"Documents in {', '.join(config.languages)} stay, by the language detector of resiliparse and by script."
    steps.append(make_step("languages", what, documents, kept, tally))
    return kept


@dataclass(frozen=True, slots=True)
class _InLanguages:
    wanted: frozenset[str]

    def __call__(self, document: Document, row: int, tally: Tally) -> Document | None:
        language = language_of(document.text)
        if language in self.wanted:
            return document
        tally.remove(document, f"language: {language}")
        return None
