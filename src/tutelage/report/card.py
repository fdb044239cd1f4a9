"""The model card: README.md of an exported model, from the same run folder as the report."""

from __future__ import annotations

from pathlib import Path

from tutelage.report.collect import Run, collect
from tutelage.report.figures import MODELS, compare
from tutelage.report.story import HEADLINES, find, lead, parameters_of, rival, suffered, verdicts

LAST = ("prefer", "instruct", "pretrain")


def model_card(run: Path) -> str:
    """Markdown with what the model is, how it was made and how well it does beside its rivals.

    Raises InputError if `run` is no run folder.
    """
    data = collect(run)
    lines = [
        "---",
        "library_name: transformers",
        "tags: [tutelage]",
        "---",
        "",
        f"# {_escape(data.name)}",
        "",
        _escape(lead(data)),
        "",
        *_figures(data),
        "## How it was made",
        "",
        *[f"- **{_escape(stage['title'])}**: {_escape(stage['sentence'])}" for stage in verdicts(data)],
        "",
        "## Limits",
        "",
        _limits(data),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _figures(run: Run) -> list[str]:
    rows = []
    for measure, who, label, rivals in HEADLINES:
        ours = find(run, measure, who)
        if ours is None:
            continue
        against = rival(run, ours, rivals)
        beside = f"{against.name} {against.show()} ({compare(ours, against, run.comparisons)})" if against else ""
        rows.append(f"| {label} | {ours.name} | {ours.show()} | {ours.interval} | {_escape(beside)} |")
    if not rows:
        return []
    return [
        "## Figures",
        "",
        "| figure | model | value | 95 % interval | strongest rival (verdict) |",
        "|---|---|---:|---|---|",
        *rows,
        "",
    ]


def _limits(run: Run) -> str:
    parameters = parameters_of(run)
    size = f"With {parameters:,} parameters it" if parameters else "It"
    last = next((name for name in LAST if run.stage(name).done), "pretrain")
    name = MODELS["base" if last == "pretrain" else last].lower()
    harm = suffered(run) if last == "prefer" else ""
    text = (
        f"{size} knows the text it was trained on and little else. What it says may be wrong: check it. "
        f"The weights are those of the {name} model."
    )
    return f"{text} Of the step before: {harm}." if harm else text


def _escape(text: str) -> str:
    """Text that Markdown shows as it is."""
    for mark in "\\`*_|<[":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
