"""Sections about the data: corpus and tokenizer."""

from __future__ import annotations

from typing import Any

from tutelage.report import format as f
from tutelage.report import plots
from tutelage.report.blocks import (
    Block,
    Cell,
    facts,
    figure,
    fold,
    heading,
    prose,
    records_table,
    shown,
    table,
    value_text,
)  # fmt: skip
from tutelage.report.collect import Record, Run
from tutelage.report.plain import as_dict, as_dicts, as_float, flatten


def corpus(run: Run) -> list[Block | None]:
    card = run.stage("corpus").json("card.json")
    if not card:
        return []
    steps = as_dicts(card.get("steps"))
    offered = steps[0].get("documents_in") if steps else None
    bars = [
        plots.Bar(
            f.words(str(step.get("name", ""))),
            as_float(step.get("documents_out")),
            ghost=as_float(step.get("documents_in")),
            role="accent" if step is steps[-1] else "ink",
            note=f"−{lost:,}" if (lost := _lost(step)) else "",
        )
        for step in steps
    ]
    rows: list[list[Cell]] = [
        [
            {"text": f.words(str(step.get("name", ""))), "sub": str(step.get("what") or "")},
            f.number(step.get("documents_in")),
            f.number(_lost(step)) if _lost(step) is not None else f.NONE,
            f.number(step.get("documents_out")),
            f.size(step.get("bytes_out")),
        ]
        for step in steps
    ]
    chart = plots.bar_chart(bars, title="Documents left after each step", unit="documents left", show=_whole, label=170)
    return [
        prose(_corpus_prose(card, offered)),
        figure(
            chart,
            "Documents left after each step. The outline is what came into the step, the number beside it what went.",
        ),
        table(["Step", "Documents in#", "Removed#", "Documents out#", "Size out#"], rows),
        *[_step_examples(step) for step in steps],
        *_split_and_labels(card),
        *_selection(card),
        _malformed(card),
        _diversity(card),
    ]


def _corpus_prose(card: Record, offered: Any) -> str:
    train, heldout = as_dict(card.get("train")), as_dict(card.get("heldout"))
    parts = []
    if f.is_number(train.get("documents")) and f.is_number(offered) and offered:
        kept = train["documents"] + (heldout.get("documents") or 0)
        parts.append(f"Of {f.number(offered)} documents {f.number(kept)} were kept ({f.percent(kept / offered)}).")
    if train.get("bytes"):
        parts.append(
            f"The model reads {f.size(train['bytes'])} in {f.number(train.get('words'))} words; "
            f"{f.number(heldout.get('documents'))} documents are held out by document, and no near-copy of them "
            "is left in the training part."
        )
    return " ".join(parts)


def _step_examples(step: Record) -> Block | None:
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
         {"text": f.clip(str(e.get("text", "")).strip(), 240), "sub": _kept(e), "mark": "sample"}]
        for e in _first_of_each(as_dicts(step.get("examples")), 3)
    ]  # fmt: skip
    name = f.words(str(step.get("name", "")))
    blocks = [
        table(["Reason", "Documents#", "Share#"], reasons),
        table(["Part", "What it takes away", "Times#", "Size#", "For example"], pieces),
        table(["Reason", "Document", "Text"], examples),
    ]
    return fold(f"{name[:1].upper()}{name[1:]}: {f.plural(int(total), 'document')} removed, and why", shown(blocks))


def _kept(example: Record) -> str:
    kept = example.get("kept_text")
    return "kept instead: " + f.clip(f"{example.get('kept_name') or ''} {kept}".strip(), 160) if kept else ""


def _first_of_each(examples: list[Record], most: int) -> list[Record]:
    """At most so many examples of each reason."""
    seen: dict[str, int] = {}
    out = []
    for example in examples:
        reason = str(example.get("reason", ""))
        seen[reason] = seen.get(reason, 0) + 1
        if seen[reason] <= most:
            out.append(example)
    return out


def _split_and_labels(card: Record) -> list[Block]:
    labels = {str(k): float(v) for k, v in as_dict(card.get("labels")).items() if f.is_number(v)}
    out: list[Block] = []
    if labels:
        bars = [plots.Bar(name, count) for name, count in sorted(labels.items(), key=lambda p: (-p[1], p[0]))]
        chart = plots.bar_chart(bars[:16], title="Documents by label", unit="documents", show=_whole, label=170)
        out += [heading("Labels"), figure(chart, "Documents by label: what the classifier is asked to tell apart.")]
    return out


def _selection(card: Record) -> list[Block]:
    """How much of the held-out side a compressor that has seen the training side gets for nothing."""
    rows = as_dicts(card.get("selection"))
    if not rows:
        return []
    alone, primed = "alone_bits_per_byte", "primed_bits_per_byte"
    bars = [
        plots.Bar(str(row.get("level", "")), as_float(row.get(primed)), ghost=as_float(row.get(alone)),
                  role="accent" if row is rows[-1] else "ink", note=f"alone {f.number(row.get(alone), 4)}")
        for row in rows
    ]  # fmt: skip
    chart = plots.bar_chart(
        bars, title="Copying at each level", unit="bits per byte", show=lambda v: f"{v:.3f}", label=170
    )
    return [
        heading("What is selected decides what can be learned"),
        prose(
            "Where the held-out text copies the training text, a plain compressor that has seen the training text "
            "needs few bits, and a low figure of a model means nothing. The further the selection goes, the more of "
            "that goes away: what is left has to be understood."
        ),
        figure(
            chart,
            "Bits per byte of held-out text under zstd at each level of the selection: primed with the training text "
            "(bar) and alone (outline). The distance is what is copied.",
        ),
        fold("The same as a table", [records_table(rows)]),
    ]


def _malformed(card: Record) -> Block | None:
    rows: list[list[Cell]] = [
        [str(row.get("file", "")), value_text(row.get("line") or None), str(row.get("why", ""))]
        for row in as_dicts(card.get("malformed"))
    ]
    count = int(card.get("malformed_count") or len(rows))
    return fold(
        f"{f.plural(count, 'malformed record')} left out", [table(["File", "Line#", "Why"], rows)] if rows else []
    )


def _diversity(card: Record) -> Block | None:
    measures = facts(flatten(as_dict(card.get("diversity"))))
    sources = {str(k): v for k, v in as_dict(card.get("sources")).items() if f.is_number(v)}
    top = sorted(sources.items(), key=lambda pair: (-pair[1], pair[0]))
    rows: list[list[Cell]] = [[name, f.number(count)] for name, count in top[:20]]
    title = f"Sources ({len(sources)}) and diversity" if sources else "Diversity"
    return fold(title, shown([measures, table(["Source", "Documents#"], rows, _rest(len(top), 20))]))


def tokenizer(run: Run) -> list[Block | None]:
    stage = run.stage("tokenizer")
    measures = stage.json("measures.json") or {key: v for key, v in stage.metrics.items() if key != "timing"}
    scalars = {key: value for key, value in measures.items() if not isinstance(value, dict)}
    rows: list[list[Cell]] = [
        [
            f.words(str(kind)).capitalize(),
            {"text": " · ".join(repr(str(token))[1:-1] for token in tokens), "mark": "code"},
        ]
        for kind, tokens in as_dict(measures.get("vocabulary")).items()
        if isinstance(tokens, list) and tokens
    ]
    return [
        facts(flatten(scalars)),
        fold("Tokens: the longest, the commonest, the unused", [table(["", "Tokens"], rows)] if rows else []),
        fold("Trained on", shown([facts(flatten(as_dict(measures.get("sample"))))])),
    ]


def _rest(count: int, most: int) -> str:
    return f"and {count - most} more" if count > most else ""


def _lost(step: Record) -> int | None:
    before, after = step.get("documents_in"), step.get("documents_out")
    return int(before) - int(after) if f.is_number(before) and f.is_number(after) else None


def _whole(value: float) -> str:
    return f.number(round(value))
