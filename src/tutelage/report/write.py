"""Writes the report of a run: one self-contained HTML file made only from the run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.report import account, plots
from tutelage.report.collect import Run, collect
from tutelage.report.draw import drawn
from tutelage.report.page import environment
from tutelage.report.story import glance, headline, lead, stages, status_sentence, verdicts
from tutelage.store.blocks import Block, facts, notice
from tutelage.store.files import write_atomic
from tutelage.store.format import duration
from tutelage.store.kinds import spec_of
from tutelage.store.left_out import left_out_blocks
from tutelage.store.plain import flatten
from tutelage.store.sections import cautions, curve_chart, endings, learned, measured, score_chart
from tutelage.store.stage import StageSpec
from tutelage.store.view import View


def write_report(run: Path) -> Path:
    """Write `run/report.html` from what the run folder holds so far; the same folder gives the same bytes.

    Raises InputError if `run` is not a run folder.
    """
    path = run / "report.html"
    write_atomic(path, render(collect(run)))
    return path


def render(run: Run) -> str:
    """The report as HTML text."""
    return str(environment().get_template("report.html.jinja").render(view(run)))


def view(run: Run) -> dict[str, Any]:
    """What the template draws."""
    from markupsafe import Markup

    return {
        "title": run.name,
        "status": run.status,
        "headline": headline(run),
        "lead": lead(run),
        "strip": Markup(_strip(run)),
        "verdicts": verdicts(run),
        "stages": stages(run),
        "glance": glance(run),
        "sections": sections(run),
    }


def sections(run: Run) -> list[Block]:
    """A section for each stage, by its own room, in lifecycle order; then the account of the run."""
    found = [(view.name.replace(".", "-"), view.title, _section(view)) for view in run.stages.values()]
    found += [
        ("cost", "Time and memory", drawn(account.cost(run))),
        ("advice", "Advice", drawn(account.advice(run))),
        ("provenance", "Provenance", drawn(account.provenance(run))),
    ]
    made = [{"id": name, "title": title, "blocks": blocks} for name, title, blocks in found]
    return [section for section in made if section["blocks"]]


def _section(view: View) -> list[Block]:
    """The section of the stage's own room; without one, or if it is broken, a generic one."""
    spec = spec_of(view.kind)
    if not view.done and not view.curve:
        return drawn([_state(view)]) if view.status in ("skipped", "failed", "interrupted") else []
    if spec is None or spec.section is None:
        return drawn([_state(view), *learned(view), endings(view), *_plain(view, spec)])
    try:
        return drawn([_state(view), *learned(view), endings(view), *spec.section(view)])
    except (
        Exception
    ) as error:  # a method that somebody adds may raise anything, and the rest of the report must be unaffected
        said = f"{type(error).__name__}: {error}".rstrip(": ")
        warning = notice(f"The section of {view.title} could not be made ({said}).", "warning")
        return drawn([_state(view), warning, *_plain(view, spec)])


def _plain(view: View, spec: StageSpec | None) -> list[Block | None]:
    """A generic section: main metrics, curve, scores, what the stage did not use."""
    main = {key: view.metrics.get(key) for key in spec.headline} if spec else {}
    glance = spec.glance if spec else ()
    return [
        facts(flatten(main)),
        curve_chart(view, "Loss", "Loss.") if view.curve else None,
        *cautions(view, [item.measure for item in glance]),
        *[score_chart(view, item.measure, f"{item.label}.") for item in glance],
        *left_out_blocks(view),
        measured(view),
    ]


def _state(view: View) -> Block | None:
    """Reports if a stage did not simply run."""
    if view.status == "ran":
        return None
    if view.status == "cached":
        return notice(
            f"{view.title} came from the cache: same configuration, inputs and seed as artifact {view.identity[:12]}."
        )
    return notice(f"{view.title}: {status_sentence(view)}", "warning" if view.status == "failed" else "note")


def _strip(run: Run) -> str:
    """Where the time went; models in colour."""
    spent = [view for view in run.stages.values() if view.seconds and view.status in ("ran", "failed", "interrupted")]
    segments = [
        plots.Segment(view.name, float(view.seconds or 0), "accent" if "model" in view.makes or view.makes ==
                      "classifier" else "ink", view.status)
        for view in spent
    ]  # fmt: skip
    return plots.strip(segments, title="Time by stage", show=duration)
