"""The data card as Markdown."""

from __future__ import annotations

from typing import Any

from tutelage.corpus.boundaries import BOUNDARIES
from tutelage.corpus.card import shorten


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
        "## Removed, step by step",
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
            lines += ["", "| rule | removes | pieces | bytes | for example |", "|---|---|---:|---:|---|"]
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
            "", "## How much of the held-out text is copied", "",
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
        lines += ["", f"## Unreadable: {card['malformed_count']:,} places", ""]
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
        lines += ["", f"Unused fields of rows: {named}."]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return shorten(" ".join(text.split()), 160).replace("|", "\\|")
