"""The head of the report: what happened, one sentence per stage, and the main figures."""

from __future__ import annotations

import time
from typing import Any

from tutelage.report.collect import Run
from tutelage.store import format as f
from tutelage.store.blocks import Block, Cell, mark, table
from tutelage.store.kinds import spec_of
from tutelage.store.sections import learned
from tutelage.store.view import Comparison, Figure, View
from tutelage.store.weights import tensor_sizes

_FINE = ("done", "finished", "complete", "completed", "ran", "ok", "succeeded")
STATUS_WORDS = {
    "ran": "ran",
    "cached": "from cache",
    "skipped": "skipped",
    "failed": "failed",
    "interrupted": "interrupted",
    "pending": "not reached",
}


def headline(run: Run) -> list[tuple[str, str]]:
    """Date, machine and total time, as far as known."""
    machine = machine_of(run)
    started, ended = run.record.get("started"), run.record.get("ended")
    return [
        (name, value)
        for name, value in (
            ("Started", when(started)),
            ("Total time", f.duration(total_seconds(run, started, ended))),
            ("Machine", machine_text(machine)),
            ("Seed", f.number(run.config("seed")) if run.config("seed") is not None else ""),
            ("Status", "" if run.status in _FINE else run.status),
        )
        if value and value != f.NONE
    ]


def lead(run: Run) -> str:
    """The run in one or two sentences."""
    views = list(run.stages.values())
    done = [view for view in views if view.done]
    models = [view for view in done if view.makes in ("language model", "chat model", "classifier", "reward model")]
    if not models:
        return ""
    parameters = _parameters(models[0])
    size = f"a model of {f.compact(parameters)} parameters" if parameters else "a model"
    made = [view.title[:1].lower() + view.title[1:] for view in models]
    sentence = f.sentence(f"{size}: {f.listing(made)}")
    cached = [view for view in views if view.status == "cached"]
    if cached and len(cached) == len(done):
        sentence += " Every stage came from the cache: nothing had changed since it was made."
    elif cached:
        sentence += f" {f.plural(len(cached), 'stage')} of {len(views)} came from the cache."
    return sentence


def verdicts(run: Run) -> list[Block]:
    """Whether every finetuned model learned anything, before everything else."""
    return [block for view in run.stages.values() if view.done for block in learned(view)]


def stages(run: Run) -> list[Block]:
    """One row for each stage: title, status and a sentence."""
    rows = []
    for view in run.stages.values():
        said = _sentence(view)
        rows.append(
            {
                "name": view.name,
                "title": view.title,
                "status": view.status,
                "status_text": STATUS_WORDS.get(view.status, view.status),
                "sentence": said or status_sentence(view),
                "time": f.duration(view.seconds) if view.status == "ran" else "",
            }
        )
    return rows


def _sentence(view: View) -> str:
    """The stage's own sentence, or why there is none."""
    spec = spec_of(view.kind)
    if spec is None or spec.sentence is None or not view.done:
        return ""
    try:
        return spec.sentence(view)
    except Exception as error:  # a method that somebody adds may raise anything
        return f"Its summary could not be made ({type(error).__name__}: {error})."


def status_sentence(view: View) -> str:
    """The sentence for a stage without a result to show."""
    why = view.why.rstrip(".") + "." if view.why else ""
    if view.status == "skipped":
        return f"Skipped: {why}" if why else "Skipped."
    if view.status == "failed":
        return f"Failed: {why}" if why else "Failed."
    if view.status == "interrupted":
        steps = max((s for row in view.curve if f.is_number(s := row.get("step"))), default=None)
        reached = f" after step {f.number(steps)}" if steps is not None else ""
        return f"Interrupted{reached}. The same command resumes from the last checkpoint."
    if view.status == "pending":
        return "Not reached."
    if view.status == "cached":
        return "From the cache."
    return "Done."


def glance(run: Run) -> Block:
    """Headline figures: ours, the strongest baseline, who is ahead by a paired comparison."""
    rows: list[list[Cell]] = []
    for view in run.stages.values():
        spec = spec_of(view.kind)
        for item in spec.glance if spec else ():
            ours = view.score(item.measure)
            if ours is None:
                continue
            row: list[Cell] = [item.label, ours.who, {"text": ours.show(), "mark": "ours"}]
            interval: Cell = {"text": ours.interval or f.NONE, "mark": "nowrap"}
            against = view.rival(ours, item.rivals)
            if against is None:
                rows.append([*row, f.NONE, f.NONE, f.NONE, interval])
            else:
                found = run.scores.compared(ours, against)
                verdict = mark(found.outcome, found.outcome, _claim(found, ours))
                if found.caution:
                    verdict = mark(f"{found.outcome} by over-optimising", "not-compared", "see the warning above")
                rows.append([*row, verdict, against.who, against.show(), interval])
    percent = f"{100 * run.scores.confidence:g} % intervals. " if run.scores.confidence else ""
    caption = (
        f"{percent}A verdict comes only from a paired comparison on the same items; “not resolved” means that the "
        "difference on these items may be chance, “too few items” that there are too few for any verdict."
    )
    return table(["Figure", "Model", "Value#", "Verdict", "Strongest rival", "Its value#", "Interval"], rows, caption)


_CLAIMS = {
    "did not suffer": "lost no more than {}",
    "suffered": "lost more than {}",
    "open": "whether it lost more than {} is open",
    "too few items": "too few to rule out a loss of {}",
}


def _claim(found: Comparison, ours: Figure) -> str:
    """The result on a loss beyond the margin, if a comparison tested one; the margin is in the measure's own unit."""
    if found.margin is None or found.claim not in _CLAIMS:
        return ""
    return _CLAIMS[found.claim].format(f"{found.margin:g} {ours.measure}")


def machine_of(run: Run) -> dict[str, Any]:
    """The machine that made the newest artifact of the run."""
    found = run.record.get("machine")
    if isinstance(found, dict):
        return found
    made = [view.manifest for view in run.stages.values() if isinstance(view.manifest.get("machine"), dict)]
    newest = max(made, key=lambda manifest: manifest.get("started") or 0, default={})
    return dict(newest.get("machine") or {})


def machine_text(machine: dict[str, Any]) -> str:
    processor = machine.get("gpu") or machine.get("processor") or machine.get("system")
    if not processor:
        return ""
    threads = machine.get("threads") or machine.get("cpus")
    memory = machine.get("memory_gb")
    parts = [str(processor), f.plural(int(threads), "thread") if threads else "", f"{memory} GB" if memory else ""]
    return ", ".join(part for part in parts if part)


def when(moment: Any) -> str:
    """Unix seconds (or a ready text) as UTC date and time."""
    if f.is_number(moment):
        return time.strftime("%-d %B %Y, %H:%M UTC", time.gmtime(moment))
    return str(moment) if moment else ""


def total_seconds(run: Run, started: Any, ended: Any) -> float | None:
    if f.is_number(started) and f.is_number(ended):
        return float(ended - started)
    spent = [stage.seconds for stage in run.stages.values() if stage.seconds and stage.status != "cached"]
    return sum(spent) if spent else None


def _parameters(view: View) -> int | None:
    found = view.metrics.get("parameters")
    if not f.is_number(found):
        found = sum(tensor_sizes(view.directory).values()) if view.directory is not None else 0
    return int(found) or None
