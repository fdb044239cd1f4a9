"""Writes the report of a run: one self-contained HTML file made only from the run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.report import format as f
from tutelage.report import plots
from tutelage.report.collect import Run, collect
from tutelage.report.sections import sections
from tutelage.report.story import glance, headline, lead, verdicts
from tutelage.store.files import write_atomic


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
        "verdicts": verdicts(run),
        "glance": glance(run),
        "sections": sections(run),
    }


def _strip(run: Run) -> str:
    roles: dict[str, plots.Role] = {
        "pretrain": "accent",
        "classify": "accent",
        "instruct": "accent",
        "prefer": "accent",
    }
    spent = [s for s in run.stages.values() if s.seconds and s.status in ("ran", "failed", "interrupted")]
    return plots.strip(
        [plots.Segment(s.name.capitalize(), float(s.seconds or 0), roles.get(s.name, "ink"), s.status) for s in spent],
        title="Time by stage", show=f.duration,
    )  # fmt: skip
