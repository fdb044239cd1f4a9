"""Reads a run folder into views of its stages. What is missing or damaged is left out, never an error: an interrupted
or failed run must give a report too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped,unused-ignore]

from tutelage.store.artifacts import MANIFEST
from tutelage.store.errors import InputError
from tutelage.store.kinds import spec_of
from tutelage.store.plain import as_dict
from tutelage.store.view import Record, Scores, View, read_json, read_lines, read_scores

EVALUATION = "evaluation.json"  # the stage with this file is the one that evaluated all models


@dataclass(frozen=True)
class Run:
    """Everything the report is made from; `stages` by name, in lifecycle order."""

    name: str
    status: str
    record: Record
    recipe: Record
    recipe_text: str
    events: list[Record]
    stages: dict[str, View]
    scores: Scores

    def config(self, *path: str) -> Any:
        """A value of the recipe by path, None if it is missing."""
        value: Any = self.recipe
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value


def collect(run: Path) -> Run:
    """Read a run folder. Raises InputError if it is not one."""
    if not run.is_dir():
        raise InputError(f"{run} is not a run folder: no such directory")
    record, events = read_json(run / "run.json"), read_lines(run / "events.jsonl")
    recipe_text = _text(run / "recipe.yaml")
    if not (record or events or recipe_text):
        raise InputError(f"{run} is not a run folder: no run.json, events.jsonl or recipe.yaml in it")
    recipe = _yaml(recipe_text)
    stages = _stages(run, record, events, set(as_dict(recipe.get("finetune"))))
    evaluations = [view.json(EVALUATION) for view in stages.values() if view.json(EVALUATION)]
    scores = read_scores(evaluations[-1]) if evaluations else Scores()
    parents = {name: str(step.get("from")) for name, value in as_dict(recipe.get("finetune")).items()
               if (step := as_dict(value)).get("from")}  # fmt: skip
    name = record.get("recipe") or recipe.get("name") or run.resolve().name
    return Run(
        name=str(name),
        status=_status(record, stages),
        record=record,
        recipe=recipe,
        recipe_text=recipe_text,
        events=events,
        stages=_joined(stages, events, scores, parents),
        scores=scores,
    )


def _joined(
    stages: Mapping[str, View], events: list[Record], scores: Scores, parents: Mapping[str, str]
) -> dict[str, View]:
    """The views with their context: inputs, events, evaluation, provenance."""
    by_identity = {view.identity: view for view in stages.values() if view.identity}
    found = {}
    for name, view in stages.items():
        inputs = {
            role: by_identity[identity]
            for role, identity in as_dict(view.manifest.get("inputs")).items()
            if identity in by_identity
        }
        line = [name]
        while (parent := parents.get(line[-1])) and parent not in line:
            line.append(parent)
        found[name] = replace(
            view, inputs=inputs, scores=scores, events=[event for event in events if event.get("stage") == name],
            parent=line[1] if len(line) > 1 else None, base=line[-1] if len(line) > 1 else None,
        )  # fmt: skip
    return found


def remarks(events: list[Record]) -> list[Record]:
    """Notes and warnings that hold for the results of this run.

    The log holds several runs of a recipe: messages of a stage hold until that stage runs again, other
    messages until the next run starts.
    """
    kept: dict[str, list[Record]] = {}
    for event in events:
        stage = str(event.get("stage") or "")
        if event.get("event") == "run_start":
            kept[""] = []
        elif event.get("event") == "stage_start":
            kept[f"{stage} before"], kept[stage] = kept.get(stage, []), []
        elif event.get("event") == "stage_end" and event.get("status") in ("cached", "skipped"):
            kept[stage] = [*kept.get(f"{stage} before", []), *kept.get(stage, [])]
        elif event.get("event") in ("note", "warning") and event.get("message"):
            kept.setdefault(stage, []).append(event)
    return [event for name, said in kept.items() if not name.endswith(" before") for event in said]


def _stages(run: Path, record: Record, events: list[Record], steps: set[str]) -> dict[str, View]:
    listed = record.get("stages")
    rows: dict[str, Record] = {
        str(row["stage"]): row
        for row in (listed if isinstance(listed, list) else [])
        if isinstance(row, dict) and "stage" in row
    }
    # Without a run.json (killed early) the events still show which stages started and ended.
    for event in events:
        name = event.get("stage")
        if isinstance(name, str) and name not in rows and event.get("event") in ("stage_start", "stage_end"):
            rows[name] = {"stage": name, "status": "interrupted"}
        if event.get("event") == "stage_end" and isinstance(name, str) and not listed:
            kept = ("status", "identity", "seconds", "metrics")
            rows[name] = {"stage": name, **{key: event[key] for key in kept if key in event}}
    starts = [index for index, event in enumerate(events) if event.get("event") == "run_start"]
    latest = events[starts[-1] :] if starts else events  # what an earlier run started is not this run's
    begun = {event.get("stage") for event in latest if event.get("event") in ("step", "progress")}
    forecast = record.get("forecast")
    return {name: _stage(run, row, events, as_dict(forecast), name in begun, steps) for name, row in rows.items()}


def _stage(run: Path, row: Record, events: list[Record], forecast: Record, begun: bool, steps: set[str]) -> View:
    name, kind = str(row["stage"]), str(row.get("kind") or row["stage"])
    directory = _inside(run, row.get("artifact"))
    manifest = read_json(directory / MANIFEST) if directory is not None else {}
    status = str(row.get("status") or "pending")
    if status == "running" or (status == "pending" and begun):
        status = "interrupted"
    metrics = row.get("metrics") or manifest.get("metrics")
    curve = read_lines(directory / "curve.jsonl") if directory is not None else []
    seconds = row.get("seconds")
    return View(
        name=name,
        kind=kind,
        title=_title(name, kind, steps),
        makes=str(row.get("makes") or ""),
        status=status,
        identity=str(row.get("identity") or manifest.get("identity") or ""),
        seconds=seconds if isinstance(seconds, (int, float)) else None,
        forecast=_forecast(forecast.get(name)),
        why=str(row.get("why") or ""),
        metrics=as_dict(metrics),
        manifest=manifest,
        directory=directory,
        curve=curve or _curve_of_events(name, events),
    )


def _forecast(told: Any) -> Record:
    """For an old run that stored only seconds, these."""
    if isinstance(told, (int, float)):
        return {"seconds": [told, told, told]}
    return as_dict(told)


def _title(name: str, kind: str, steps: set[str]) -> str:
    """The kind of stage; for a finetuning step, whose name the user chose, also the name if it says more, and for a
    part of it its role (a step may have several corpora)."""
    spec = spec_of(kind)
    title = spec.title if spec else kind.replace("_", " ").capitalize()
    own, _, role = name.partition(".")
    said = [own] if own in steps and own.lower() not in (kind, title.lower()) else []
    said += [role] if role not in ("", kind) else []
    return f"{title}: {', '.join(said)}" if said else title


def _curve_of_events(stage: str, events: list[Record]) -> list[Record]:
    """The curve of an unfinished stage. After a resume steps repeat: the later record of a step counts."""
    steps: dict[tuple[str, Any], Record] = {}
    for event in events:
        if event.get("stage") == stage and event.get("event") == "stage_end" and event.get("status") == "ran":
            steps.clear()  # an earlier run of this recipe ended; what follows is another one
        if event.get("stage") == stage and event.get("event") in ("step", "validation"):
            drop = ("event", "time", "stage", "total")
            fields = {key: value for key, value in event.items() if key not in drop}
            if event["event"] == "validation":
                fields = {"step": fields.pop("step", 0), "validation": fields.get("validation", fields)}
            steps[(event["event"], fields.get("step"))] = fields
    return list(steps.values())


def _inside(run: Path, relative: Any) -> Path | None:
    """An artifact's directory, named relative to the run folder."""
    if not isinstance(relative, str) or not relative:
        return None
    path = run / relative
    return path if path.is_dir() else None


def _status(record: Record, stages: dict[str, View]) -> str:
    """The run's status; one that never wrote its end is unfinished."""
    states = [stage.status for stage in stages.values()]
    said = str(record.get("status") or "")
    if "failed" in states or said == "failed":
        return "failed"
    if "interrupted" in states or said == "interrupted":
        return "interrupted"
    return "unfinished" if said in ("", "running", "pending") else said


def _yaml(text: str) -> Record:
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return data if isinstance(data, dict) else {}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
