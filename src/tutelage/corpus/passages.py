"""Cutting texts into documents: at blank lines, at the ends of lines, at the ends of sentences."""

from __future__ import annotations

from collections.abc import Iterable

from tutelage.corpus.sentences import split_sentences

LONGEST_PART = 2000  # characters of one document cut from a longer text file, where nothing else is set
_FEWEST_LINES = 20
_LINES_A_GAP = 40  # fewer lines for each blank one: the paragraphs, not the lines, are the units
ENDS = (".", "!", "?", "…", '"', "'", "”", "’", ")", "。", "！", "？", "।", "؟")


def cut(text: str, longest: int = LONGEST_PART) -> list[str]:
    """Cut a text at blank lines into parts of at most `longest` characters: a book gives many documents.

    A paragraph of up to twice that is never cut; a longer one is cut where a line ends with a sentence, else where
    a sentence ends, else where a line ends. `longest` 0 leaves the text whole.
    """
    if not longest:
        return [text] if text.strip() else []
    units = [piece for paragraph in text.split("\n\n") for piece in _pieces(paragraph, longest)]
    return _grouped(units, "\n\n", longest)


def cut_lines(text: str, longest: int = LONGEST_PART) -> list[str]:
    """Runs of whole lines of at most `longest` characters (0: of any length)."""
    return _grouped((line for line in text.split("\n") if line.strip()), "\n", longest or len(text))


def is_lines(text: str) -> bool:
    """Whether each line of a text is a unit of its own (one sentence a line), as opposed to wrapped paragraphs.

    That is so where there are many lines and few blank ones, and most lines begin or end as sentences do.
    """
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if len(lines) < _FEWEST_LINES or len(lines) < _LINES_A_GAP * text.strip().count("\n\n"):
        return False
    begins = sum(not line[0].islower() for line in lines)
    ends = sum(line.endswith(ENDS) for line in lines)
    return max(begins, ends) >= 0.6 * len(lines)


def _grouped(units: Iterable[str], glue: str, longest: int) -> list[str]:
    parts: list[str] = []
    current: list[str] = []
    size = 0
    for unit in units:
        if current and size + len(glue) + len(unit) > longest:
            parts.append(glue.join(current))
            current, size = [], 0
        size += len(unit) + (len(glue) if current else 0)
        current.append(unit)
    parts.append(glue.join(current))
    return [part for part in parts if part.strip()]


def _pieces(paragraph: str, longest: int) -> list[str]:
    if len(paragraph) <= 2 * longest:
        return [paragraph]
    pieces: list[str] = []
    current: list[str] = []
    size = 0
    for line in paragraph.split("\n"):
        sentences = split_sentences(line) if len(line) > 2 * longest else [line]
        for run in _grouped(sentences, " ", longest):
            current.append(run)
            size += len(run) + 1
            if size >= 2 * longest or (size >= longest // 2 and run.rstrip().endswith(ENDS)):
                pieces.append("\n".join(current))
                current, size = [], 0
    return [*pieces, "\n".join(current)] if current else pieces
