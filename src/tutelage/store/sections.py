"""Blocks shared by report sections: curves, scores with their rivals, cautions, architecture."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.store import format as f
from tutelage.store.blocks import (
    Block,
    Cell,
    Point,
    bar,
    bar_chart,
    facts,
    fold,
    line,
    line_chart,
    notice,
    prose,
    segment,
    strip,
    table,
)
from tutelage.store.left_out import KEYS
from tutelage.store.plain import as_dict, flatten
from tutelage.store.view import Figure, Outcome, Record, View
from tutelage.store.weights import parameters_by_part

_WORDS: dict[Outcome, str] = {
    "better": "better than {}",
    "worse": "worse than {}",
    "not resolved": "not distinguishable from {}",
    "too few items": "with too few items for a verdict against {}",
    "not compared": "beside {}",
}


def curve_chart(view: View, y: str, caption: str, key: str = "loss", height: int = 300) -> Block:
    """A training curve (every logged step pale, its running mean in front) and its held-out points."""
    raw = points(view.curve, key)
    held = points([{"step": row.get("step"), **as_dict(row.get("validation"))} for row in view.curve], key)
    lines = [line("", raw, "quiet"), line("training", raw, smooth=True), line("held out", held, "ink")]
    return line_chart(lines, x="step", y=y, title=f"{view.title}: {y}", caption=caption, height=height)


def points(curve: Sequence[Record], key: str) -> list[Point]:
    return [
        (float(row["step"]), float(row[key]))
        for row in curve
        if f.is_number(row.get("step")) and f.is_number(row.get(key))
    ]


def score_chart(view: View, measure: str, caption: str) -> Block | None:
    """The stage's model, coloured, among all that were measured on the same task."""
    ours = view.score(measure)
    return None if ours is None else scores_of(view.scores.beside(ours), caption, {view.name})


def scores_of(figures: Sequence[Figure], caption: str, coloured: set[str]) -> Block | None:
    """Bars of one measure: models as they were made, then baselines, the strongest first, then references."""
    if not figures:
        return None
    if any(f.few_pairs(one.value, one.n, one.unit) for one in figures):
        counts = f.listing([f"{one.who} {one.show()}" for one in figures])
        measure = f.sentence(figures[0].measure).rstrip(".")
        return prose(f"{measure}: {counts}. Too few for percentages. {caption}")
    sign = -1 if figures[0].higher_is_better else 1
    order = {"model": 0, "baseline": 1, "reference": 2}
    ordered = sorted(figures, key=lambda one: (order.get(one.kind, 1), 0 if one.kind == "model" else sign * one.value))
    bars = [
        bar(one.who, one.value, one.low, one.high, role="accent" if one.who in coloured else "ink") for one in ordered
    ]
    unit = {"0-100": "0 to 100", "0-1": "0 to 1", "share": ""}.get(figures[0].unit, figures[0].unit)
    direction = "more is better" if figures[0].higher_is_better else "less is better"
    return bar_chart(bars, title=figures[0].measure, caption=caption, unit=", ".join(filter(None, [unit, direction])),
                     show=figures[0].style)  # fmt: skip


def judged(view: View, measure: str, rivals: Sequence[str]) -> str:
    """'bits per byte 1.580, better than xz primed (1.770)'; empty if not measured."""
    ours = view.score(measure)
    if ours is None:
        return ""
    against = view.rival(ours, rivals)
    said = f"{ours.measure} {ours.show()}"
    if against is None:
        return said
    words = _WORDS[view.scores.outcome(ours, against)].format(f"{against.who} ({against.show()})")
    return f"{said}, {words}"


def learned(view: View) -> list[Block]:
    """Whether the step learned anything, base against tuned; the alarm that makes it no praise."""
    found = [line for line in view.scores.learned if line.get("who") == view.name and line.get("text")]
    alarm = view.scores.alarm(view.name)
    said = [
        notice(f.sentence(str(line["text"])), "note" if line.get("found") == "learned" else "warning") for line in found
    ]
    return said + ([notice(f"Warning: {alarm}.", "warning")] if alarm else [])


def endings(view: View) -> Block | None:
    """How many answers of a finetuned model loop and how many never end, beside everybody asked the same."""
    measures = [("loops", False), ("ends by itself", True)]
    found = {(measure, how): view.score(measure + how) for measure, _ in measures for how in ("", ", sampled")}
    if (first := found["ends by itself", ""]) is None or view.parent is None:
        return None
    rows: list[list[Cell]] = []
    for one in view.scores.beside(first):
        cells = [_share(view, found[measure, how], one.who, turned) for how in ("", ", sampled")
                 for measure, turned in measures]  # fmt: skip
        rows.append([{"text": one.who, "mark": "ours" if one.who == view.name else ""}, *cells])
    caption = (
        "Share of the answers that end in one run of words said three times or more, and of those that had not ended "
        f"at the limit of tokens (of references: that are longer than it); n = {first.n}"
        + (f", sampled {drawn.n}" if (drawn := found["loops", ", sampled"]) else "")
        + "."
    )
    columns = ["Do its answers end?", "Loops#", "Never ends#", "Loops, sampled#", "Never ends, sampled#"]
    return table(columns, rows, caption)


def _share(view: View, figure: Figure | None, who: str, turned: bool) -> Cell:
    """A share with its interval below it; `turned`: of the others."""
    one = next((one for one in view.scores.beside(figure) if one.who == who), None) if figure else None
    if one is None:
        return f.NONE
    value, low, high = one.value, one.low, one.high
    if turned:
        value, low, high = 1 - value, None if high is None else 1 - high, None if low is None else 1 - low
    interval = (
        "" if low is None or high is None else " to ".join(f.percent(bound).removesuffix(" %") for bound in (low, high))
    )
    return {"text": f.percent(value), "sub": interval}


def cautions(view: View, measures: Sequence[str], said: Sequence[str] = ()) -> list[Block]:
    """The cautions of a task, if the model has a score of one of these measures."""
    return [notice(text) for text in said if any(view.score(measure) for measure in measures)]


def measured(view: View) -> Block | None:
    """Everything that the stage measured while it ran, folded away."""
    hidden = ("timing", "peak_memory_mb", *KEYS)
    kept = {key: value for key, value in view.metrics.items() if key not in hidden}
    return fold(f"All metrics of {view.name}", [facts(flatten(kept))]) if kept else None


def architecture(view: View, more: Sequence[str] = ()) -> list[Block | None]:
    """The architecture of a model and its parameters by part; `more`: additional metrics to show."""
    config = view.json("config.json")
    parts = parameters_by_part(view.directory) if view.directory else {}
    total = sum(parts.values())
    heads, groups = config.get("num_attention_heads"), config.get("num_key_value_heads")
    outer = parts.get("embedding", 0) + parts.get("output head", 0)
    pairs = [
        ("Family", str(config.get("model_type") or "")),
        ("Parameters", f.compact(total) if total else ""),
        ("Layers", f.number(config.get("num_hidden_layers"))),
        ("Hidden size", f.number(config.get("hidden_size"))),
        ("Feed-forward size", f.number(config.get("intermediate_size"))),
        ("Heads", f"{heads} ({groups} key/value)" if heads and groups else str(heads or "")),
        ("Vocabulary", f.number(config.get("vocab_size"))),
        ("Context length", f.number(config.get("max_position_embeddings"))),
        ("Embedding share", f.percent(outer / total) if total else ""),
        *flatten({key: view.metrics.get(key) for key in more}),
    ]
    segments = [
        segment(name, count, "accent" if name in ("attention", "MLP") else "ink", f.percent(count / total))
        for name, count in parts.items()
    ]
    where = "Parameters by part. Colour: the layers; grey: embedding, heads and norms."
    return [facts(pairs), strip(segments, title="Parameters by part", caption=where, show="compact")]
