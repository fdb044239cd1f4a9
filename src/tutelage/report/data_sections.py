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
    removed = {str(k): v for k, v in as_dict(step.get("removed")).items() if f.is_number(v) and v}
    if not removed:
        return None
    total = sum(removed.values())
    rows: list[list[Cell]] = [
        [f.words(reason), f.number(count), f.percent(count / total)]
        for reason, count in sorted(removed.items(), key=lambda pair: (-pair[1], pair[0]))
    ]
    shown_examples: list[list[Cell]] = [
        [f.words(str(e.get("reason", ""))), {"text": f.clip(e.get("name") or e.get("id", ""), 60), "mark": "code"},
         {"text": f.clip(str(e.get("text", "")).strip(), 240), "mark": "sample"}]
        for e in as_dicts(step.get("examples"))[:12]
    ]  # fmt: skip
    name = f.words(str(step.get("name", "")))
    return fold(
        f"Why {name} removed {f.plural(int(total), 'document')}",
        shown([table(["Reason", "Documents#", "Share#"], rows), table(["Reason", "Document", "Text"], shown_examples)]),
    )


def _split_and_labels(card: Record) -> list[Block | None]:
    labels = {str(k): float(v) for k, v in as_dict(card.get("labels")).items() if f.is_number(v)}
    out: list[Block] = []
    if labels:
        bars = [plots.Bar(name, count) for name, count in sorted(labels.items(), key=lambda p: (-p[1], p[0]))]
        chart = plots.bar_chart(bars[:16], title="Documents by label", unit="documents", show=_whole, label=170)
        out += [heading("Labels"), figure(chart, "Documents by label: what the classifier is asked to tell apart.")]
    return out


def _selection(card: Record) -> list[Block | None]:
    rows = as_dicts(card.get("selection"))
    if not rows:
        return []
    return [
        heading("What is selected decides what can be learned"),
        prose("The same source under different selections. Text that repeats itself is easy for a compressor and "
              "flatters every figure; text of many kinds cannot be learned in minutes."),
        records_table(rows),
    ]  # fmt: skip


def _malformed(card: Record) -> Block | None:
    rows: list[list[Cell]] = [
        [str(r.get("file", "")), value_text(r.get("line")), str(r.get("why", ""))]
        for r in as_dicts(card.get("malformed"))
    ]
    return (
        fold(f"{f.plural(len(rows), 'malformed record')} left out", [table(["File", "Line#", "Why"], rows[:50])])
        if rows
        else None
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
    measures = stage.json("measures.json") or {k: v for k, v in stage.metrics.items() if k != "timing"}
    tables = [
        records_table(rows, f.words(key).capitalize()) for key, value in measures.items() if (rows := as_dicts(value))
    ]
    return [facts(flatten(measures)), *tables]


def _rest(count: int, most: int) -> str:
    return f"and {count - most} more" if count > most else ""


def _lost(step: Record) -> int | None:
    before, after = step.get("documents_in"), step.get("documents_out")
    return int(before) - int(after) if f.is_number(before) and f.is_number(after) else None


def _whole(value: float) -> str:
    return f.number(round(value))
