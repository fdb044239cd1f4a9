"""Reads a run folder into plain data. What is missing or damaged is left out, never an error: an
interrupted or failed run must give a report too."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped,unused-ignore]

from tutelage.report.figures import Figure, read_baselines, read_comparisons, read_figures
from tutelage.store.artifacts import MANIFEST
from tutelage.store.errors import InputError
from tutelage.store.events import read_events

Record = dict[str, Any]

TITLES = {
    "corpus": "Corpus",
    "tokenizer": "Tokenizer",
    "baselines": "Baselines",
    "pretrain": "Pretraining",
    "classify": "Classification finetuning",
    "instruct": "Instruction finetuning",
    "pairs": "Preference pairs",
    "prefer": "Preference finetuning",
    "evaluate": "Evaluation",
}


@dataclass(frozen=True)
class Stage:
    """One stage of the run: what run.json says of it, its manifest, and where its files lie (or None).

    `status` is ran, cached, skipped, failed, interrupted or pending; `curve` holds the logged steps.
    """

    name: str
    status: str = "pending"
    identity: str = ""
    seconds: float | None = None
    forecast: float | None = None
    why: str = ""
    metrics: Record = field(default_factory=dict)
    manifest: Record = field(default_factory=dict)
    directory: Path | None = None
    curve: list[Record] = field(default_factory=list)

    @property
    def title(self) -> str:
        if self.adopted:
            return "Adopted model"
        return TITLES.get(self.name, self.name.replace("_", " ").capitalize())

    @property
    def adopted(self) -> str:
        """Of the base model: where it comes from, if it was not trained here."""
        return str(self.metrics.get("adopted") or "") if self.name == "pretrain" else ""

    @property
    def done(self) -> bool:
        return self.status in ("ran", "cached")

    def json(self, name: str) -> Record:
        """A JSON object of the stage's files; empty where there is none."""
        return read_json(self.directory / name) if self.directory is not None else {}

    def lines(self, name: str) -> list[Record]:
        """A JSON-lines file of the stage; empty where there is none."""
        return read_lines(self.directory / name) if self.directory is not None else []


@dataclass(frozen=True)
class Run:
    """Everything the report is made of."""

    name: str
    status: str
    record: Record
    recipe: Record
    recipe_text: str
    events: list[Record]
    stages: dict[str, Stage]
    figures: list[Figure]
    comparisons: list[Record]

    def stage(self, name: str) -> Stage:
        """The stage of that name; one that the run does not know is 'absent'."""
        return self.stages.get(name, Stage(name, status="absent"))

    def config(self, *path: str) -> Any:
        """A value of the recipe by path, None if it is not there."""
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
    stages = _stages(run, record, events)
    name = record.get("recipe") or recipe.get("name") or run.resolve().name
    evaluation = stages["evaluate"].json("evaluation.json") if "evaluate" in stages else {}
    baselines = stages["baselines"].json("baselines.json") if "baselines" in stages else {}
    return Run(
        name=str(name if not isinstance(name, dict) else name.get("name", run.name)),
        status=_status(record, stages),
        record=record,
        recipe=recipe,
        recipe_text=recipe_text,
        events=events,
        stages=stages,
        figures=read_figures(evaluation) or read_baselines(baselines),
        comparisons=read_comparisons(evaluation),
    )


def read_json(path: Path) -> Record:
    """A JSON object from a file; empty if missing, damaged or no object."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def read_lines(path: Path) -> list[Record]:
    """Objects of a JSON-lines file; damaged lines are passed over."""
    try:
        return [line for line in read_events(path) if isinstance(line, dict)]
    except (OSError, UnicodeDecodeError):
        return []


def remarks(events: list[Record]) -> list[Record]:
    """Notes and warnings that hold for the results of this run.

    The log goes on over several runs of a recipe: what a stage said holds until that stage runs again, what was
    said outside the stages until the next run begins.
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


def _stages(run: Path, record: Record, events: list[Record]) -> dict[str, Stage]:
    listed = record.get("stages")
    rows: dict[str, Record] = {
        str(row["stage"]): row
        for row in (listed if isinstance(listed, list) else [])
        if isinstance(row, dict) and "stage" in row
    }
    # Without a run.json (killed early) the events still tell which stages began and ended.
    for event in events:
        name = event.get("stage")
        if isinstance(name, str) and name not in rows and event.get("event") in ("stage_start", "stage_end"):
            rows[name] = {"stage": name, "status": "interrupted"}
        if event.get("event") == "stage_end" and isinstance(name, str) and not listed:
            kept = ("status", "identity", "seconds", "metrics")
            rows[name] = {"stage": name, **{key: event[key] for key in kept if key in event}}
    starts = [index for index, event in enumerate(events) if event.get("event") == "run_start"]
    latest = events[starts[-1] :] if starts else events  # what an earlier run of this folder began is not this run's
    begun = {event.get("stage") for event in latest if event.get("event") in ("step", "progress")}
    forecast = record.get("forecast")
    order = [name for name in TITLES if name in rows] + [name for name in rows if name not in TITLES]
    return {
        name: _stage(run, rows[name], events, forecast if isinstance(forecast, dict) else {}, name in begun)
        for name in order
    }


def _stage(run: Path, row: Record, events: list[Record], forecast: Record, begun: bool) -> Stage:
    name = str(row["stage"])
    directory = _inside(run, row.get("artifact"))
    manifest = read_json(directory / MANIFEST) if directory is not None else {}
    status = str(row.get("status") or "pending")
    if status == "running" or (status == "pending" and begun):
        status = "interrupted"
    metrics = row.get("metrics") or manifest.get("metrics")
    curve = read_lines(directory / "curve.jsonl") if directory is not None else []
    seconds = row.get("seconds")
    return Stage(
        name=name,
        status=status,
        identity=str(row.get("identity") or manifest.get("identity") or ""),
        seconds=seconds if isinstance(seconds, (int, float)) else None,
        forecast=forecast.get(name),
        why=str(row.get("why") or ""),
        metrics=metrics if isinstance(metrics, dict) else {},
        manifest=manifest,
        directory=directory,
        curve=curve or _curve_of_events(name, events),
    )


def _curve_of_events(stage: str, events: list[Record]) -> list[Record]:
    """The curve of an unfinished stage. After a resume steps repeat: the later record of a step holds."""
    steps: dict[tuple[str, Any], Record] = {}
    for event in events:
        if event.get("stage") == stage and event.get("event") == "stage_end" and event.get("status") == "ran":
            steps.clear()  # an earlier run of this recipe came to its end; what follows is another one
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


def _status(record: Record, stages: dict[str, Stage]) -> str:
    """The run's status; one that never came to write its end is unfinished."""
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
