"""Writes the report of a run: one self-contained HTML file made only from the run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.report import account, plots
from tutelage.report.collect import Run, collect
from tutelage.report.draw import drawn
from tutelage.report.story import glance, headline, lead, stages, status_sentence
from tutelage.store.blocks import Block, notice
from tutelage.store.files import write_atomic
from tutelage.store.format import duration
from tutelage.store.kinds import spec_of
from tutelage.store.sections import curve_chart, measured
from tutelage.store.view import View


def write_report(run: Path) -> Path:
    """Make `run/report.html` from whatever the run folder holds so far; the same folder gives the same bytes.

    Raises InputError if `run` is no run folder.
    """
    path = run / "report.html"
    write_atomic(path, render(collect(run)))
    return path


def render(run: Run) -> str:
    """The report as HTML text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("tutelage.report", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("report.html.jinja").render(view(run))


def view(run: Run) -> dict[str, Any]:
    """What the template draws."""
    from markupsafe import Markup

    return {
        "title": run.name,
        "status": run.status,
        "headline": headline(run),
        "lead": lead(run),
        "strip": Markup(_strip(run)),
        "stages": stages(run),
        "glance": glance(run),
        "sections": sections(run),
    }


def sections(run: Run) -> list[Block]:
    """A section for each stage, by its own room, in the order of the life; then the account of the run."""
    found = [(view.name.replace(".", "-"), view.title, _section(view)) for view in run.stages.values()]
    found += [
        ("cost", "Time and memory", account.cost(run)),
        ("advice", "Advice", account.advice(run)),
        ("provenance", "Provenance", account.provenance(run)),
    ]
    made = [{"id": name, "title": title, "blocks": drawn(blocks)} for name, title, blocks in found]
    return [section for section in made if section["blocks"]]


def _section(view: View) -> list[Block | None]:
    spec = spec_of(view.kind)
    if not view.done and not view.curve:
        return [_state(view)] if view.status in ("skipped", "failed", "interrupted") else []
    if spec and spec.section:
        return [_state(view), *spec.section(view)]
    return [_state(view), curve_chart(view, "Loss", "Loss.") if view.curve else None, measured(view)]


def _state(view: View) -> Block | None:
    """Says when a stage did not simply run."""
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
