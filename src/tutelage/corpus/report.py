"""What the report says of a corpus: what each step removed, and what that did for what can be learned."""

from __future__ import annotations

from typing import Any

from tutelage.corpus.benchmark_items import rows_of
from tutelage.corpus.benchmark_items import sentence as benchmarks_sentence
from tutelage.corpus.boundaries import BOUNDARIES
from tutelage.corpus.selection.report import blocks as selection_blocks
from tutelage.store import format as f
from tutelage.store.blocks import (
    Block,
    Cell,
    bar,
    bar_chart,
    facts,
    fold,
    heading,
    prose,
    records_table,
    table,
    value_text,
)
from tutelage.store.left_out import with_left_out
from tutelage.store.plain import as_dict, as_dicts, as_float, flatten
from tutelage.store.view import Record, View


def sentence(view: View) -> str:
    card = view.json("card.json")
    steps, train, heldout = as_dicts(card.get("steps")), as_dict(card.get("train")), as_dict(card.get("heldout"))
    if not steps or not f.is_number(train.get("documents")):
        return ""
    offered, held = steps[0].get("documents_in"), int(heldout.get("documents") or 0)
    kept = int(train["documents"]) + held
    share = f" ({f.percent(kept / offered)})" if f.is_number(offered) and offered else ""
    said = f"{kept:,} of {f.number(offered)} documents kept{share}, {f.size(train.get('bytes'))} to train on"
    return with_left_out(view, said + (f", {f.plural(held, 'document')} held out" if held else ""))


def section(view: View) -> list[Block | None]:
    card = view.json("card.json")
    if not card:
        return []
    steps = as_dicts(card.get("steps"))
    bars = [
        bar(f.words(str(step.get("name", ""))), as_float(step.get("documents_out")),
            ghost=as_float(step.get("documents_in")), role="accent" if step is steps[-1] else "ink",
            note=f"−{lost:,}" if (lost := _lost(step)) else "")
        for step in steps
    ]  # fmt: skip
    rows: list[list[Cell]] = [
        [
            {"text": f.words(str(step.get("name", ""))), "sub": str(step.get("what") or "")},
            f.number(step.get("documents_in")), f.number(lost) if (lost := _lost(step)) is not None else f.NONE,
            f.number(step.get("documents_out")), f.size(step.get("bytes_out")),
        ]
        for step in steps
    ]  # fmt: skip
    caption = "Documents left after each step. Outline: what came into the step; beside it: how many it removed."
    return [
        prose(_kept(card, steps)),
        bar_chart(bars, title="Documents left after each step", unit="documents", show="whole", label=170,
                  caption=caption),
        table(["Step", "Documents in#", "Removed#", "Documents out#", "Size out#"], rows),
        *[_examples(step) for step in steps],
        *_benchmarks(card),
        *_labels(card),
        *selection_blocks(card),
        *_selection(card),
        _malformed(card),
        _diversity(card),
    ]  # fmt: skip


def _kept(card: Record, steps: list[Record]) -> str:
    train, heldout = as_dict(card.get("train")), as_dict(card.get("heldout"))
    offered = steps[0].get("documents_in") if steps else None
    parts = []
    if f.is_number(train.get("documents")) and f.is_number(offered) and offered:
        kept = train["documents"] + (heldout.get("documents") or 0)
        parts.append(f"Of {f.number(offered)} documents {f.number(kept)} were kept ({f.percent(kept / offered)}).")
    if train.get("bytes"):
        parts.append(
            f"The training part is {f.size(train['bytes'])} with {f.number(train.get('words'))} words; "
            f"{f.number(heldout.get('documents'))} documents are held out, and no near-copy of them is left in the "
            "training part."
        )
    for boundary, record in as_dict(card.get("boundaries")).items():
        found = as_dict(record)
        said = f"{f.plural(int(found.get('files') or 0), 'text file')}: {BOUNDARIES.get(str(boundary), str(boundary))}"
        parts.append(f"{said} ({f.number(found.get('documents'))}, in {f.number(found.get('pieces'))} pieces).")
    return " ".join(parts)


def _examples(step: Record) -> Block | None:
    """Reasons, parts of documents and examples of what a step took away."""
    removed = {str(k): v for k, v in as_dict(step.get("removed")).items() if f.is_number(v) and v}
    total = sum(removed.values())
    reasons: list[list[Cell]] = [
        [f.words(reason), f.number(count), f.percent(count / total)]
        for reason, count in sorted(removed.items(), key=lambda pair: (-pair[1], pair[0]))
    ]
    pieces: list[list[Cell]] = [
        [f.words(rule), str(part.get("what", "")), f.number(part.get("count")), f.size(part.get("bytes")),
         {"text": f.clip((part.get("examples") or [""])[0], 120), "mark": "sample"}]
        for rule, part in ((rule, as_dict(part)) for rule, part in as_dict(step.get("pieces")).items())
    ]  # fmt: skip
    examples: list[list[Cell]] = [
        [f.words(str(e.get("reason", ""))), {"text": f.clip(e.get("name") or e.get("id", ""), 60), "mark": "code"},
         {"text": f.clip(str(e.get("text", "")).strip(), 240), "sub": _instead(e), "mark": "sample"}]
        for e in _first_of_each(as_dicts(step.get("examples")), 3)
    ]  # fmt: skip
    name = f.words(str(step.get("name", "")))
    return fold(
        f"{name[:1].upper()}{name[1:]}: {f.plural(int(total), 'document')} removed, and why",
        [
            table(["Reason", "Documents#", "Share#"], reasons),
            table(["Rule", "What it removes", "Times#", "Size#", "Example"], pieces),
            table(["Reason", "Document", "Text"], examples),
        ],
    )


def _instead(example: Record) -> str:
    kept = example.get("kept_text")
    return "kept instead: " + f.clip(f"{example.get('kept_name') or ''} {kept}".strip(), 160) if kept else ""


def _first_of_each(examples: list[Record], most: int) -> list[Record]:
    seen: dict[str, int] = {}
    out = []
    for example in examples:
        reason = str(example.get("reason", ""))
        seen[reason] = seen.get(reason, 0) + 1
        if seen[reason] <= most:
            out.append(example)
    return out


def _benchmarks(card: Record) -> list[Block | None]:
    told = as_dict(card.get("benchmarks"))
    if not told:
        return []
    rows: list[list[Cell]] = [list(row) for row in rows_of(told)]
    head = ["Task", "Items#", "Found#", "In documents#", "Too short to look for#"]
    return [heading("Items of benchmarks"), prose(benchmarks_sentence(told)), table(head, rows)]


def _labels(card: Record) -> list[Block | None]:
    labels = {str(k): float(v) for k, v in as_dict(card.get("labels")).items() if f.is_number(v)}
    if not labels:
        return []
    ordered = sorted(labels.items(), key=lambda pair: (-pair[1], pair[0]))
    bars = [bar(name, count) for name, count in ordered[:16]]
    more = f" The {len(ordered) - 16} smallest are not shown." if len(ordered) > 16 else ""
    return [
        heading("Labels"),
        bar_chart(bars, title="Documents by label", unit="documents", show="whole", label=170,
                  caption=f"Documents by label.{more}"),
    ]  # fmt: skip


def _selection(card: Record) -> list[Block | None]:
    """How much of the held-out side a compressor that has seen the training side gets for nothing."""
    rows = as_dicts(card.get("selection"))
    if not rows:
        return []
    alone, primed = "alone_bits_per_byte", "primed_bits_per_byte"
    bars = [
        bar(str(row.get("level", "")), as_float(row.get(primed)), ghost=as_float(row.get(alone)),
            role="accent" if row is rows[-1] else "ink", note=f"alone {f.number(row.get(alone), 4)}")
        for row in rows
    ]  # fmt: skip
    caption = (
        "Bits per byte of held-out text under zstd at each step of the selection: primed with the training text (bar) "
        "and alone (outline). The gap between them is what copying alone predicts."
    )
    return [
        heading("Text that a copy could predict"),
        prose(
            "Where the held-out text copies the training text, a plain compressor that has seen the training text "
            "needs few bits, and a low score of a model says little. Each step of the selection removes more "
            "of such text."
        ),
        bar_chart(
            bars,
            title="Copying at each step of the selection",
            unit="bits per byte",
            show="bits",
            label=170,
            caption=caption,
        ),
        fold("The same as a table", [records_table(rows)]),
    ]


def _malformed(card: Record) -> Block | None:
    rows: list[list[Cell]] = [
        [str(row.get("file", "")), value_text(row.get("line") or None), str(row.get("why", ""))]
        for row in as_dicts(card.get("malformed"))
    ]
    count = int(card.get("malformed_count") or len(rows))
    return fold(f"{f.plural(count, 'malformed record')} left out", [table(["File", "Line#", "Why"], rows)])


def _diversity(card: Record) -> Block | None:
    sources = {str(k): v for k, v in as_dict(card.get("sources")).items() if f.is_number(v)}
    top = sorted(sources.items(), key=lambda pair: (-pair[1], pair[0]))
    rows: list[list[Cell]] = [[name, f.number(count)] for name, count in top[:20]]
    title = f"Sources ({len(sources)}) and diversity" if sources else "Diversity"
    rest = f"and {len(top) - 20} more" if len(top) > 20 else ""
    return fold(title, [facts(flatten(as_dict(card.get("diversity")))), table(["Source", "Documents#"], rows, rest)])


def _lost(step: Record) -> int | None:
    before: Any = step.get("documents_in")
    after: Any = step.get("documents_out")
    return int(before) - int(after) if f.is_number(before) and f.is_number(after) else None
