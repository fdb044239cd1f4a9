"""Run a recipe: stage after stage, from the cache where possible, with everything written down as it happens."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tutelage.recipe.config import Recipe
from tutelage.recipe.graph import Job, Stage, stages_for
from tutelage.recipe.plan import Planned, inputs_of, look_up
from tutelage.store.artifacts import Artifact, ArtifactStore
from tutelage.store.errors import Interrupted, TutelageError
from tutelage.store.events import EventLog, Listener
from tutelage.store.files import write_atomic, write_json

CHAT_STAGES = ("prefer", "instruct", "pretrain")  # the first one there is is what one talks to


@dataclass
class Run:
    """A run folder and what is in it so far."""

    path: Path
    record: dict[str, Any]

    def save(self) -> None:
        write_json(self.path / "run.json", self.record)

    def stage(self, name: str) -> dict[str, Any]:
        for record in self.record["stages"]:
            if record["stage"] == name:
                return dict(record)
        raise KeyError(name)


def run_recipe(
    recipe: Recipe,
    root: Path,
    listeners: tuple[Listener, ...] = (),
    targets: tuple[str, ...] = (),
    forecast: dict[str, float] | None = None,
    advice: tuple[str, ...] = (),
) -> Run:
    """Make every artifact the recipe asks for (or `targets` and what they need) under the store `root`.

    The folder `root/NAME` gets recipe.yaml, run.json (after every stage) and events.jsonl. Finished stages come
    from the cache; an interrupted one goes on from its checkpoint. A damaged artifact is named, moved aside and
    made again. `advice` is said at the start and kept among the events. Raises what a stage raises, after the
    failure is written into run.json.
    """
    stages = stages_for(targets)
    path = root / recipe.name
    try:
        path.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(root)
        write_atomic(path / "recipe.yaml", yaml.safe_dump(recipe.plain(), sort_keys=False, allow_unicode=True))
        write_atomic(root / "latest", recipe.name + "\n")
    except OSError as error:
        raise TutelageError(f"cannot write to {root}: {error.strerror}", hint="choose another with --out") from None
    run = Run(
        path,
        {
            "recipe": recipe.name,
            "status": "running",
            "seed": recipe.seed,
            "stages": [{"stage": stage.name, "status": "pending"} for stage in stages],
            "forecast": forecast or {},
            "chat_model": None,
            "started": round(time.time(), 3),
            "ended": None,
        },
    )
    run.save()
    log = EventLog(path / "events.jsonl", listeners)
    log.emit("run_start", recipe=recipe.name, stages=[stage.name for stage in stages], forecast=forecast or {})
    for message in advice:
        log.warn(message)
    status = "failed"
    try:
        _run_stages(recipe, stages, ArtifactStore(root), run, log)
        status = "done"
    except (KeyboardInterrupt, Interrupted) as error:
        status = "interrupted"
        if isinstance(error, Interrupted):
            raise
        raise Interrupted("stopped", hint="run the same command again to go on") from None
    except Exception as error:
        if _disk_is_full(error):
            raise TutelageError(
                f"the disk of {root} is full", hint="free some space and run again; finished stages are kept"
            ) from error
        raise
    finally:
        run.record |= {"status": status, "ended": round(time.time(), 3)}
        with contextlib.suppress(OSError):  # a full disk must not hide the first error
            run.save()
            log.emit("run_end", recipe=recipe.name, status=status)
    return run


def _run_stages(recipe: Recipe, stages: list[Stage], store: ArtifactStore, run: Run, log: EventLog) -> None:
    known: dict[str, str] = {}
    done: dict[str, Artifact] = {}
    for number, stage in enumerate(stages):
        stage_log = log.for_stage(stage.name)
        begin = time.monotonic()
        stage_log.emit("stage_start")
        planned = look_up(stage, recipe, store, known, done)
        record: dict[str, Any] = {"stage": stage.name, "status": planned.status, "identity": planned.identity}
        if planned.status == "skipped":
            record["why"] = planned.why
        else:
            assert planned.identity is not None
            try:
                artifact, record["status"] = _make(recipe, stage, planned, store, known, done, stage_log)
            except BaseException as error:
                failed = "interrupted" if isinstance(error, (KeyboardInterrupt, Interrupted)) else "failed"
                run.record["stages"][number] = {**record, "status": failed, "why": str(error) or failed}
                with contextlib.suppress(OSError):
                    stage_log.emit("stage_end", status=failed, why=str(error) or failed)
                raise
            known[stage.name], done[stage.name] = planned.identity, artifact
            record |= {
                "artifact": os.path.relpath(artifact.path, run.path),
                "seconds": artifact.manifest["seconds"],
                "peak_memory_mb": artifact.manifest["metrics"].get("peak_memory_mb"),
                "metrics": artifact.metrics,
            }
        run.record["stages"][number] = record
        chat = next((done[name] for name in CHAT_STAGES if name in done), None)
        run.record["chat_model"] = os.path.relpath(chat.path, run.path) if chat else None
        run.save()
        stage_log.emit("stage_end", **{**record, "seconds": round(time.monotonic() - begin, 3)})


def _make(
    recipe: Recipe,
    stage: Stage,
    planned: Planned,
    store: ArtifactStore,
    known: dict[str, str],
    done: dict[str, Artifact],
    log: EventLog,
) -> tuple[Artifact, str]:
    """The stage's artifact, from the cache or made now, and which of the two."""
    if planned.artifact:
        return planned.artifact, "cached"
    assert planned.identity is not None
    with _lock(store, stage.name, planned.identity):
        # Another process may have finished it while this one waited to look.
        if planned.status == "damaged":
            path = store.path(stage.name, planned.identity)
            aside = path.with_name(f"damaged-{path.name}-{int(time.time())}")
            path.rename(aside)
            log.warn(f"{planned.why}; moved to {aside.name} and made again")
        elif found := store.find(stage.name, planned.identity, verify=True):
            return found, "cached"
        inputs = {name: done[name].path if name in done else None for name in stage.needs + stage.uses}

        def fill(out: Path, work: Path) -> dict[str, Any]:
            from tutelage.store.device import peak_memory_mb, reset_peak_memory

            reset_peak_memory()
            metrics = stage.run(Job(recipe, inputs, out, work, log))
            return {**metrics, "peak_memory_mb": peak_memory_mb()}

        config, identities = stage.config(recipe), inputs_of(stage, recipe, known)
        return store.write(stage.name, stage.version, config, identities, fill), "ran"


@contextlib.contextmanager
def _lock(store: ArtifactStore, stage: str, identity: str) -> Iterator[None]:
    """Only one process makes an artifact; a second one is told so. The lock dies with its process."""
    path = store.root / "work" / f"{stage}-{identity[:12]}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TutelageError(
                f"another process is making {stage}-{identity[:12]} in {store.root}",
                hint="wait for it to end, or use another folder with --out",
            ) from None
        yield
    path.unlink(missing_ok=True)


def _disk_is_full(error: Exception) -> bool:
    """Libraries wrap the system's error in their own; its words remain."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or "No space left on device" in str(error)


def _remove_leftovers(root: Path) -> None:
    """Half-written directories of processes that were killed: `.NAME.PID.tmp`."""
    for path in (root / "artifacts").glob(".*.*.tmp"):
        process = path.name.split(".")[-2]
        if process.isdigit() and not Path(f"/proc/{process}").exists():
            shutil.rmtree(path, ignore_errors=True)
