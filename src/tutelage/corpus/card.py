"""The data card: what the corpus holds, what went at each step and why, with examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from tutelage.corpus.boundaries import BOUNDARIES
from tutelage.corpus.document import Document, count_bytes, count_words
from tutelage.corpus.rows import Reading

EXAMPLES = 5
_SHOWN = 300  # characters of a text in an example
_MALFORMED_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Removal:
    """A document that a step took out, why, and for a duplicate the document that was kept instead."""

    document: Document
    reason: str
    kept: Document | None = None


@dataclass(slots=True)
class Step:
    """One step of selection: documents and UTF-8 bytes before and after, and what went for which reason."""

    name: str
    what: str
    documents_in: int
    documents_out: int
    bytes_in: int
    bytes_out: int
    removed: dict[str, int]
    examples: list[dict[str, Any]]
    pieces: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Parts of documents that went (prose step): rule -> what, count, bytes, examples."""

    def plain(self) -> dict[str, Any]:
        record = asdict(self)
        if not self.pieces:
            del record["pieces"]
        return record


def make_step(name: str, what: str, before: list[Document], after: list[Document], removals: Iterable[Removal]) -> Step:
    """Account of a step; `removals` must explain every document of `before` that is not in `after`."""
    removals = sorted(removals, key=lambda removal: (removal.reason, removal.document.id))
    removed = Counter(removal.reason for removal in removals)
    assert len(before) - removed.total() == len(after), f"step {name} does not add up"
    shown: Counter[str] = Counter()
    examples = []
    for removal in removals:
        shown[removal.reason] += 1
        if shown[removal.reason] <= EXAMPLES:
            examples.append(_example(removal))
    return Step(
        name, what, len(before), len(after), count_bytes(before), count_bytes(after),
        dict(sorted(removed.items())), examples,
    )  # fmt: skip


def _example(removal: Removal) -> dict[str, Any]:
    record = {
        "reason": removal.reason,
        "id": removal.document.id,
        "name": removal.document.name,
        "text": shorten(removal.document.text),
    }
    if removal.kept is not None:
        record |= {"kept_name": removal.kept.name, "kept_text": shorten(removal.kept.text)}
    return record


def shorten(text: str, longest: int = _SHOWN) -> str:
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def make_card(
    source: str,
    seed: int,
    train: list[Document],
    heldout: list[Document],
    steps: list[Step],
    diversity: dict[str, Any],
    selection: list[dict[str, Any]],
    reading: Reading,
    files: int,
) -> dict[str, Any]:
    """The card as plain data; see docs/corpus.md for its keys."""
    chosen = train + heldout
    return {
        "source": source,
        "seed": seed,
        "files": files,
        "documents": len(chosen),
        "bytes": count_bytes(chosen),
        "train": _side(train),
        "heldout": _side(heldout),
        "steps": [step.plain() for step in steps],
        "labels": _counts(document.label for document in chosen if document.label),
        "sources": _counts(document.source for document in chosen),
        "kinds": _counts(document.kind for document in chosen),
        "described": sum(bool(document.signature and document.summary) for document in chosen),
        "diversity": diversity,
        "selection": selection,
        "malformed": [asdict(place) for place in reading.malformed[:_MALFORMED_SHOWN]],
        "malformed_count": len(reading.malformed),
        "decoded": [{"file": file, "how": how} for file, how in reading.decoded[:_MALFORMED_SHOWN]],
        "decoded_count": len(reading.decoded),
        "skipped": dict(sorted(reading.skipped.items())),
        "boundaries": _boundaries(reading),
        "ignored_fields": dict(sorted(reading.ignored.items())),
    }


def _boundaries(reading: Reading) -> dict[str, dict[str, int]]:
    """How many text files were read by which boundary, their documents, and the pieces these were cut into."""
    totals: dict[str, dict[str, int]] = {}
    for _, boundary, documents, pieces in sorted(reading.boundaries, key=lambda one: one[1]):
        record = totals.setdefault(boundary, {"files": 0, "documents": 0, "pieces": 0})
        for key, more in (("files", 1), ("documents", documents), ("pieces", pieces)):
            record[key] += more
    return totals


def _side(documents: list[Document]) -> dict[str, int]:
    return {
        "documents": len(documents),
        "bytes": count_bytes(documents),
        "words": count_words(documents),
    }


def _counts(values: Iterable[str]) -> dict[str, int]:
    """Counts, largest first, equal ones by name."""
    return dict(sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0])))


def render_card(card: dict[str, Any]) -> str:
    """The card as Markdown."""
    lines = [
        f"# Data card: {card['source']}",
        "",
        f"{card['documents']:,} documents, {card['bytes']:,} bytes,"
        f" from {card['files']:,} files (seed {card['seed']}).",
        "",
        "| side | documents | bytes | words |",
        "|---|---:|---:|---:|",
    ]
    for side in ("train", "heldout"):
        record = card[side]
        lines.append(f"| {side} | {record['documents']:,} | {record['bytes']:,} | {record['words']:,} |")
    for boundary, found in card["boundaries"].items():
        said = f"{found['documents']:,} documents in {found['pieces']:,} pieces"
        lines += ["", f"{found['files']:,} text files read as {boundary!r} ({BOUNDARIES[boundary]}): {said}."]
    lines += [
        "",
        "## What went, step by step",
        "",
        "| step | documents | bytes | removed |",
        "|---|---:|---:|---|",
    ]
    for step in card["steps"]:
        removed = ", ".join(f"{reason} {count:,}" for reason, count in step["removed"].items()) or "none"
        documents = f"{step['documents_in']:,} → {step['documents_out']:,}"
        lines.append(f"| {step['name']} | {documents} | {step['bytes_in']:,} → {step['bytes_out']:,} | {removed} |")
    for step in card["steps"]:
        lines += ["", f"### {step['name']}", "", step["what"]]
        if pieces := step.get("pieces"):
            lines += ["", "| rule | takes away | pieces | bytes | for example |", "|---|---|---:|---:|---|"]
            for rule, record in pieces.items():
                example = _cell(record["examples"][0]) if record["examples"] else ""
                lines.append(f"| {rule} | {record['what']} | {record['count']:,} | {record['bytes']:,} | {example} |")
        if step["examples"]:
            lines += ["", "| removed as | name | text | kept instead |", "|---|---|---|---|"]
            for example in step["examples"]:
                kept = f"{example.get('kept_name') or ''}: {example['kept_text']}" if "kept_text" in example else ""
                cells = (example["reason"], example["name"] or "", example["text"], kept)
                lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    if card["selection"]:
        lines += [
            "", "## How much of the held-out side is copying", "",
            "Bits per byte of held-out text under zstd -12, alone and primed with training text.", "",
            "| level | documents | alone | primed |", "|---|---:|---:|---:|",
        ]  # fmt: skip
        for level in card["selection"]:
            alone, primed = level["alone_bits_per_byte"], level["primed_bits_per_byte"]
            lines.append(f"| {level['level']} | {level['documents']:,} | {alone:.3f} | {primed:.3f} |")
    lines += ["", "## Variety", ""]
    lines += [f"- {name}: {value}" for name, value in card["diversity"].items()]
    for title, key in (("Labels", "labels"), ("Sources", "sources")):
        if card[key]:
            lines += ["", f"## {title}", "", "| | documents |", "|---|---:|"]
            lines += [f"| {_cell(name)} | {count:,} |" for name, count in list(card[key].items())[:50]]
    if card["malformed_count"]:
        lines += ["", f"## Not readable: {card['malformed_count']:,} places", ""]
        lines += [
            f"- {place['file']}{':' + str(place['line']) if place['line'] else ''}: {place['why']}"
            for place in card["malformed"]
        ]
    if card["decoded_count"]:
        lines += ["", f"## Not plain UTF-8: {card['decoded_count']:,} files", ""]
        lines += [f"- {record['file']}: {record['how']}" for record in card["decoded"]]
    if card["skipped"]:
        lines += ["", "Skipped: " + ", ".join(f"{count:,} {what}" for what, count in card["skipped"].items()) + "."]
    if card["ignored_fields"]:
        named = ", ".join(f"{key} ({count:,})" for key, count in card["ignored_fields"].items())
        lines += ["", f"Fields of rows that were not used: {named}."]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return shorten(" ".join(text.split()), 160).replace("|", "\\|")
