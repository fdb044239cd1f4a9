"""The evaluation section of the report: every figure, every comparison, samples of the models' answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tutelage.store import format as f
from tutelage.store.blocks import Block, Cell, bar, bar_chart, fold, heading, prose, samples, table
from tutelage.store.left_out import with_left_out
from tutelage.store.plain import as_dict, as_float
from tutelage.store.sections import measured
from tutelage.store.view import Scores, View, read_scores

_MOST = 12


def baselines_sentence(view: View) -> str:
    found = view.json("baselines.json")
    rates = as_dict(found.get("bits_per_byte"))
    values = {str(who): row["value"] for who, row in rates.items() if f.is_number(as_dict(row).get("value"))}
    if not values:
        return ""
    strongest = min(values, key=lambda who: values[who])
    said = f"the strongest baseline on held-out text is {strongest}: {f.bits(values[strongest])} bits per byte"
    return with_left_out(replace(view, metrics=found), said)


def baselines_section(view: View) -> list[Block | None]:
    """The baselines alone, for runs without models; otherwise they also appear next to the models' figures."""
    rates = [(str(who), as_dict(row)) for who, row in as_dict(view.json("baselines.json").get("bits_per_byte")).items()]
    bars = [
        bar(who, row.get("value"), as_float(row.get("low")), as_float(row.get("high")))
        for who, row in sorted(rates, key=lambda pair: as_float(pair[1].get("value")) or 0.0)
    ]
    caption = "Bits for a byte of held-out text. “Primed” compressors have read all training text."
    return [
        bar_chart(bars, title="Baselines", unit="bits per byte, lower is better", show="bits", caption=caption),
        measured(view),
    ]


def sentence(view: View) -> str:
    scores = _scores(view)
    if not scores.figures:
        return ""
    models = {one.who for one in scores.figures if one.kind == "model"}
    others = {one.who for one in scores.figures if one.kind == "baseline"}
    if chosen := [str(choice.get("text", "")) for choice in _choices(view)]:
        return " ".join(f"{text[:1].upper()}{text[1:]}." for text in chosen)
    counts = f"{f.plural(len(models), 'model')} against {f.plural(len(others), 'baseline')}"
    return f"{f.plural(len(scores.figures), 'figure')}: {counts}."


def section(view: View) -> list[Block | None]:
    scores = _scores(view)
    if not scores.figures:
        return []
    rows: list[list[Cell]] = []
    before = ("", "")
    for one in scores.figures:
        first, before = (one.task, one.measure) != before, (one.task, one.measure)
        name: Cell = {"text": f"{one.measure[:1].upper()}{one.measure[1:]}" if one.measure != "chrF" else one.measure,
                      "sub": one.task} if first else ""  # fmt: skip
        who: Cell = {"text": one.who, "mark": "ours" if one.kind == "model" else ""}
        rows.append([name, who, one.show(), one.interval or f.NONE, f.number(one.n)])
    notes = list(dict.fromkeys((one.measure, one.note) for one in scores.figures if one.note))
    limits = _cautions(view)
    said: list[list[Cell]] = [[str(row.get("verdict", "")), str(row.get("measure", ""))] for row in scores.comparisons]
    percent = f"{100 * scores.confidence:g} %" if scores.confidence else "Its"
    return [
        *_costs(view),
        *_curves(view),
        *_samples(view),
        fold(f"All {len(rows)} figures", [table(["Measure", "Of", "Value#", f"{percent} interval#", "n#"], rows)]),
        fold(f"All {len(said)} paired comparisons", [table(["On the same items", "Measure"], said)]),
        fold("How each was measured", [table(["Measure", "How"], [list(pair) for pair in notes])]),
        fold("Limits of each measure", [table(["Measure", "Caution"], limits)]) if limits else None,
    ]


def _cautions(view: View) -> list[list[Cell]]:
    """The known limits of every measure in the results."""
    figures = view.json("evaluation.json").get("figures")
    said = {
        (str(one.get("measure")), str(text)): None
        for one in (figures if isinstance(figures, list) else ()) if isinstance(one, dict)
        for text in (one["cautions"] if isinstance(one.get("cautions"), list) else ())
    }  # fmt: skip
    seen: set[str] = set()
    rows: list[list[Cell]] = []
    for measure, text in said:
        rows.append(["" if measure in seen else measure, text])
        seen.add(measure)
    return rows


def _choices(view: View) -> list[dict[str, Any]]:
    found = view.json("evaluation.json").get("choices")
    return [choice for choice in found if isinstance(choice, dict)] if isinstance(found, list) else []


def _costs(view: View) -> list[Block | None]:
    """Size and latency of each classifier, and the share of texts above its confidence threshold."""
    slow = as_dict(as_dict(view.metrics.get("timing")).get("milliseconds_per_text"))
    blocks: list[Block | None] = []
    for choice in _choices(view):
        sizes, answers = as_dict(choice.get("megabytes")), as_dict(choice.get("answers"))
        rows: list[list[Cell]] = []
        for who, megabytes in sizes.items():
            sure = as_dict(answers.get(who))
            share = f"{f.percent(sure['share'])} (from {sure['at_least']:.4f})" if sure else f.NONE
            use: Cell = {"text": str(who), "mark": "ours" if who == choice.get("use") else ""}
            rows.append([use, f.number(megabytes), f.number(slow.get(who)), share])
        caption = ["Classifier", "MB#", "ms a text#", "Right in 95 % of#"]
        blocks += [heading("Which classifier to use"), table(caption, rows)]
    return blocks


def _curves(view: View) -> list[Block | None]:
    found = view.json("evaluation.json").get("curves")
    curves = [as_dict(curve) for curve in found] if isinstance(found, list) else []
    rows: list[list[Cell]] = []
    for curve in curves:
        for count, accuracy in zip(curve["rows"], curve["accuracy"], strict=True):
            rows.append([str(curve["who"]) if count == curve["rows"][0] else "", f.number(count), f"{accuracy:.1f} %"])
    said = " ".join(f"{str(curve['text'])[:1].upper()}{str(curve['text'])[1:]}." for curve in curves)
    return [
        heading("Gain from more rows"),
        prose(said),
        table(["Classifier", "Training rows#", "Accuracy#"], rows),
    ] if rows else []  # fmt: skip


def _scores(view: View) -> Scores:
    return read_scores(view.json("evaluation.json"))


def _samples(view: View) -> list[Block | None]:
    lines = view.lines("samples.jsonl")
    answers = _rows([line for line in lines if line.get("kind") != "continuation"])
    written = _rows([line for line in lines if line.get("kind") == "continuation"])
    return [
        heading("Answers to held-out prompts") if answers else None,
        samples(answers[:4]),
        fold(f.plural(len(answers) - 4, "more prompt"), [samples(answers[4:])]) if len(answers) > 4 else None,
        heading("Continuations of held-out text") if written else None,
        samples(written),
    ]


def _rows(lines: list[dict[str, Any]]) -> list[Block]:
    """Samples in the template's format; the text is untrusted."""
    rows = []
    for line in lines[:_MOST]:
        outputs = line.get("outputs")
        said = [("Reference", line["reference"], "quiet")] if isinstance(line.get("reference"), str) else []
        for who, text in outputs.items() if isinstance(outputs, dict) else ():
            if isinstance(text, str):
                said.append((str(who), text, "ink" if who == "base" else "accent"))
        if said:
            rows.append({"prompt": str(line.get("prompt") or ""), "answers": said})
    return rows
