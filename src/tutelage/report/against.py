"""Two runs on one page: verdicts first, then what differs in their recipes, their curves, and what they cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tutelage.evaluation.compare.compare import Report, compare_results
from tutelage.evaluation.compare.read import read_results
from tutelage.report.collect import Run, collect
from tutelage.report.forecasts import peak_memory
from tutelage.report.page import page
from tutelage.store import format as f
from tutelage.store.blocks import Block, Cell, fold, line, line_chart, mark, notice, prose, table
from tutelage.store.errors import TutelageError
from tutelage.store.files import write_atomic
from tutelage.store.kinds import spec_of
from tutelage.store.plain import as_dict, flat
from tutelage.store.sections import points
from tutelage.store.view import View

Names = tuple[str, str]


def write_comparison(before: Path, after: Path) -> Path:
    """Make `after/against-BEFORE.html`. Raises InputError where one of the two is not a run folder."""
    runs = collect(before), collect(after)
    path = after / f"against-{before.resolve().name}.html"
    write_atomic(path, render(*runs, before, after))
    return path


def render(before: Run, after: Run, first: Path, second: Path) -> str:
    """The page as HTML text."""
    names = _names(before, after, first, second)
    sections = [
        ("Verdicts", verdicts(first, second)),
        ("What differs in the recipes", recipes(before, after, names)),
        ("Figures", figures(before, after, names)),
        ("Curves", curves(before, after, names)),
        ("Time and memory", cost(before, after, names)),
    ]
    return page(f"{names[1]} against {names[0]}", "Tutelage, two runs", _lead(before, after, names), sections)


def verdicts(first: Path, second: Path) -> list[Block | None]:
    """Paired, item by item, if both were evaluated on the same items; else why not."""
    try:
        found = compare_results([read_results(first), read_results(second)])
    except TutelageError as error:
        hint = f" ({error.hint})" if error.hint else ""
        return [notice(f"No paired verdict: {error.message}{hint}.", "warning")]
    rows = [_verdict(row) for row in [*found.averages, *found.rows]]
    columns = ["Task", "Items#", "Before#", "After#", "Difference#", "p#", "Verdict"]
    cautions = [notice(f"{text} ({f.listing(tasks)})") for text, tasks in found.cautioned().items()]
    return [prose(f.sentence(found.overall)), table(columns, rows, _how(found)),
            *[notice(f"Left out: {text}") for text in found.left_out],
            fold("What these figures do not say", cautions) if cautions else None]  # fmt: skip


def recipes(before: Run, after: Run, names: Names) -> list[Block | None]:
    """Every key that is not the same in both, with both values."""
    one, other = flat(before.recipe), flat(after.recipe)
    keys = [
        key
        for key in dict.fromkeys([*one, *other])
        if key != "name" and one.get(key, _MISSING) != other.get(key, _MISSING)
    ]
    if not keys:
        return [prose("Nothing: both ran the same recipe.")]
    rows: list[list[Cell]] = [[{"text": key, "mark": "code"}, _value(one, key), _value(other, key)] for key in keys]
    return [table(["Key", *names], rows)]


def figures(before: Run, after: Run, names: Names) -> list[Block | None]:
    """The headline metrics of stages that both have, where they differ. Side by side, without a verdict: verdicts come
    from paired items only."""
    rows: list[list[Cell]] = []
    same = 0
    for ours, theirs in _both(before, after):
        spec = spec_of(ours.kind)
        for key in spec.headline if spec else ():
            values = [view.metrics.get(key) for view in (ours, theirs)]
            if not any(f.is_number(value) for value in values):
                continue
            if values[0] == values[1]:
                same += 1
            else:
                rows.append([ours.title, f.words(key), *(f.number(value, 4) for value in values)])
    equal = f" {f.plural(same, 'figure')} more that are the same in both are not shown." if same else ""
    if not rows:
        return [prose(f"None of {f.plural(same, 'figure')} differs.")] if same else []
    caption = f"As each run measured them, not judged: only paired items decide.{equal}"
    return [table(["Stage", "Figure", *(f"{name}#" for name in names)], rows, caption)]


def curves(before: Run, after: Run, names: Names) -> list[Block | None]:
    """Held-out and smoothed training loss of each stage that both trained anew."""
    found: list[Block | None] = []
    for ours, theirs in _both(before, after):
        lines = [
            line(names[0], points(ours.curve, "loss"), "ink", smooth=True),
            line(names[1], points(theirs.curve, "loss"), "accent", smooth=True),
        ]
        if ours.curve and theirs.curve and ours.identity != theirs.identity:
            caption = f"{ours.title}: running mean of the training loss."
            found.append(line_chart(lines, x="step", y="loss", title=ours.title, caption=caption))
    return found


def cost(before: Run, after: Run, names: Names) -> list[Block | None]:
    rows: list[list[Cell]] = []
    for ours, theirs in _both(before, after):
        same = "the same artifact" if ours.identity and ours.identity == theirs.identity else ""
        took = [f.duration(view.seconds) for view in (ours, theirs)]
        memory = [f.size(peak_memory(view)) for view in (ours, theirs)]
        rows.append([ours.title, *took, *memory, same])
    columns = ["Stage", *(f"Time, {name}#" for name in names), *(f"Memory, {name}#" for name in names), ""]
    return [table(columns, rows, "Each as it was when the stage really ran.")] if rows else []


_MISSING: Any = object()


def _names(before: Run, after: Run, first: Path, second: Path) -> Names:
    """The recipes' names if they differ, else the folders'."""
    if before.name != after.name:
        return before.name, after.name
    names = first.resolve().name, second.resolve().name
    return names if names[0] != names[1] else (str(first), str(second))


def _lead(before: Run, after: Run, names: Names) -> str:
    unfinished = [name for name, run in zip(names, (before, after), strict=True) if run.status != "done"]
    return f"Not finished: {f.listing(unfinished)}." if unfinished else ""


def _both(before: Run, after: Run) -> list[tuple[View, View]]:
    return [(view, after.stages[name]) for name, view in before.stages.items() if name in after.stages]


def _verdict(row: Any) -> list[Cell]:
    digits = 1 if row.unit == "points" else 3
    bounds = "" if row.low is None else f"{row.low:+.{digits}f} to {row.high:+.{digits}f}"
    p = "< 0.001" if row.p_adjusted < 0.001 else f"{row.p_adjusted:.3f}"
    difference: Cell = {"text": f"{row.difference:+.{digits}f}", "sub": bounds}
    values = [f"{value:.{digits}f}" for value in (row.value_a, row.value_b)]
    return [row.task, f.number(row.n), *values, difference, p, mark(row.outcome, row.outcome)]


def _how(found: Report) -> str:
    many = f" p is corrected for {len(found.rows)} comparisons (Holm)." if len(found.rows) > 1 else ""
    return f"Paired, item by item; shares in percentage points; after minus before, with a 95 % interval.{many}"


def _value(recipe: dict[str, Any], key: str) -> str:
    """A value as a recipe writes it; a missing key is marked."""
    if key not in recipe:
        return "not there"
    value = recipe[key]
    return value if isinstance(value, str) else json.dumps(as_dict(value) or value, ensure_ascii=False)
