"""Run a recipe: stage after stage, from the cache where possible, with everything written down as it happens."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tutelage.recipe.config import Recipe
from tutelage.recipe.graph import Node, life
from tutelage.recipe.locks import exclusive, remove_leftovers
from tutelage.recipe.plan import inputs_of, look_up
from tutelage.recipe.record import Run, chat_model, end_last_line, entry, keep_forecast, pending, read_record
from tutelage.store.artifacts import Artifact, ArtifactStore
from tutelage.store.errors import DamagedError, Interrupted, TutelageError
from tutelage.store.events import EventLog, Listener, plain
from tutelage.store.files import write_atomic
from tutelage.store.hashing import sha256_text
from tutelage.store.stage import Job

STOPPED, RESUME = "stopped; finished stages are kept", "run the same command again to resume"


def run_recipe(
    recipe: Recipe,
    root: Path,
    listeners: tuple[Listener, ...] = (),
    targets: tuple[str, ...] = (),
    forecast: Mapping[str, Any] | None = None,
    advice: tuple[str, ...] = (),
    folder: Path | None = None,
) -> Run:
    """Make every artifact that the recipe needs (or `targets` and what they need) under the store `root`.

    The folder `root/NAME` gets recipe.yaml, run.json (after every stage) and events.jsonl. Finished stages come from
    the cache; an interrupted one resumes from its checkpoint. A damaged artifact is named, moved aside and made
    anew. `advice` is logged at the start. Raises what a stage raises, after the failure is
    written into run.json; Interrupted after Ctrl-C or SIGTERM; TutelageError if the disk is full or another process
    is running this recipe here. Of several processes the first calls this, the others `follow_recipe`. `forecast`: of
    each stage (`guidance.forecast.Outlook.kept`), to be compared with the actual figures. `folder`: of a run that is
    part of something larger; it is used instead, and the run does not become the latest one.
    """
    path = root / recipe.name if folder is None else folder
    busy = f"another process is running the recipe {recipe.name} in {path.parent}"
    lock = recipe.name if folder is None else sha256_text(str(folder.resolve()))[:12]
    with contextlib.ExitStack() as held:
        try:
            path.mkdir(parents=True, exist_ok=True)
            held.enter_context(exclusive(root / "work" / f"run-{lock}.lock", busy))
            remove_leftovers(root)
            write_atomic(path / "recipe.yaml", yaml.safe_dump(recipe.plain(), sort_keys=False, allow_unicode=True))
            if folder is None:
                write_atomic(root / "latest", recipe.name + "\n")
            end_last_line(path / "events.jsonl")
        except OSError as error:
            raise TutelageError(
                f"cannot write to {root}: {error.strerror}", hint="choose another folder with --out"
            ) from None
        earlier = read_record(path / "run.json")
        record = {
            "recipe": recipe.name,
            "status": "running",
            "seed": recipe.seed,
            "data_seed": recipe.data_seed,
            "stages": [pending(node) for node in _shown(recipe, targets)],
            "forecast": dict(forecast or {}),
            "chat_model": None,
            "started": round(time.time(), 3),
            "ended": None,
        }
        run = Run(path, record)
        log = EventLog(path / "events.jsonl", listeners)
        status = "failed"
        try:
            run.save()
            wanted = [node.name for node in life(recipe, targets)]
            log.emit("run_start", recipe=recipe.name, stages=wanted, forecast=forecast or {})
            for message in advice:
                log.warn(message)
            with _sigterm_interrupts():
                _run_stages(recipe, targets, ArtifactStore(root), run, log, earlier)
            order(None)
            status = "done"
        except (KeyboardInterrupt, Interrupted) as error:
            status = "interrupted"
            if isinstance(error, Interrupted):
                raise
            raise Interrupted(STOPPED, hint=RESUME) from None
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


def order(command: dict[str, Any] | None) -> None:
    """Tell the other processes of this run, if there are any, what to do next; None: nothing more."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:  # checked first, because torch is slow to import
        from tutelage.training.distributed.world import current_world

        current_world().order(command)


def follow_recipe(recipe: Recipe) -> None:
    """The loop of the other processes of a run: train together with the first one when told to. They write no
    artifacts."""
    from tutelage.training.distributed.world import current_world

    nodes = {node.name: node for node in _shown(recipe)}
    while (command := current_world().order()) is not None:
        node = nodes[command["stage"]]
        with tempfile.TemporaryDirectory() as out:
            node.spec.run(_job(node, recipe, command["inputs"], Path(out), command["work"], EventLog()))


def _job(node: Node, recipe: Recipe, inputs: dict[str, Path], out: Path, work: Path, log: EventLog) -> Job:
    return Job(node.name, node.config, inputs, out, work, log, recipe.seed, recipe.data_seed)


def _shown(recipe: Recipe, targets: tuple[str, ...] = ()) -> list[Node]:
    """The nodes that the run's record lists: the whole graph, and a target that is not part of it."""
    whole = life(recipe)
    names = {node.name for node in whole}
    return [*whole, *(node for node in life(recipe, targets) if node.name not in names)]


def _run_stages(
    recipe: Recipe,
    targets: tuple[str, ...],
    store: ArtifactStore,
    run: Run,
    log: EventLog,
    earlier: Mapping[str, Any],
) -> None:
    known: dict[str, str] = {}
    done: dict[str, Artifact] = {}
    nodes = life(recipe, targets)
    wanted = {node.name for node in nodes}
    _audit(nodes)
    for number, node in enumerate(_shown(recipe, targets)):
        record = pending(node)
        if node.name in wanted:
            stage_log = log.for_stage(node.name)
            stage_log.emit("stage_start")
            begin = time.monotonic()
            try:
                record |= _do(recipe, node, store, run, known, done, stage_log)
            except BaseException as error:
                failed = "interrupted" if isinstance(error, (KeyboardInterrupt, Interrupted)) else "failed"
                run.record["stages"][number] = {**record, "status": failed, "why": str(error) or failed}
                with contextlib.suppress(OSError):
                    stage_log.emit("stage_end", status=failed, why=str(error) or failed)
                raise
            stage_log.emit("stage_end", **{**record, "seconds": round(time.monotonic() - begin, 3)})
        else:
            # Not requested now, but its existing artifact still belongs to this run.
            record |= _there_already(recipe, node, store, run, known, done)
        run.record["stages"][number] = record
        run.record["chat_model"] = chat_model(run.record["stages"])
        keep_forecast(run, record, earlier)
        run.save()


def _audit(nodes: Sequence[Node]) -> None:
    """Read the user's own data before any long stage starts, so that problems are reported in the first seconds."""
    for node in nodes:
        if node.spec.audit:
            try:
                node.spec.audit(node.config, EventLog())
            except TutelageError as error:
                error.message = f"{node.key}: {error.message}"
                raise


def _do(
    recipe: Recipe,
    node: Node,
    store: ArtifactStore,
    run: Run,
    known: dict[str, str],
    done: dict[str, Artifact],
    log: EventLog,
) -> dict[str, Any]:
    """Get the node's artifact, from the cache or made now, and enter it into `known` and `done`."""
    planned = look_up(node, recipe, store, known, done)
    if planned.identity is None:
        return {"status": "skipped", "identity": None, "why": planned.why}
    artifact, status = planned.artifact, "cached"
    if artifact is None:
        artifact, status = _make(recipe, node, planned.identity, store, known, done, log)
    known[node.name], done[node.name] = planned.identity, artifact
    return {"status": status, **entry(artifact, run)}


def _there_already(
    recipe: Recipe, node: Node, store: ArtifactStore, run: Run, known: dict[str, str], done: dict[str, Artifact]
) -> dict[str, Any]:
    try:
        planned = look_up(node, recipe, store, known, done)
    except TutelageError:  # its own input is wrong or gone, which does not matter for the requested stages
        return {}
    if planned.artifact is None:
        return {"identity": planned.identity}
    known[node.name], done[node.name] = planned.artifact.identity, planned.artifact
    return {"status": "cached", **entry(planned.artifact, run)}


def _make(
    recipe: Recipe,
    node: Node,
    identity: str,
    store: ArtifactStore,
    known: dict[str, str],
    done: dict[str, Artifact],
    log: EventLog,
) -> tuple[Artifact, str]:
    """The node's artifact made now, or found if another process made it in the meantime; and which of the two."""
    kind = node.spec.kind
    name = f"{kind}-{identity[:12]}"
    with exclusive(store.root / "work" / f"{name}.lock", f"another process is making {name} in {store.root}"):
        try:
            if found := store.find(kind, identity, verify=True):
                return found, "cached"
        except DamagedError as error:
            aside = _move_aside(store.path(kind, identity))
            log.warn(f"{error.message}; moved to {aside.name} and made anew")
        inputs = {role: done[other].path for role, other in node.inputs.items() if other in done}

        def fill(out: Path, work: Path) -> dict[str, Any]:
            from tutelage.store.device import peak_memory_mb, reset_peak_memory, return_freed_memory

            return_freed_memory()  # what the stage before left would count as this one's
            reset_peak_memory()
            if node.spec.trains:
                order({"stage": node.name, "inputs": inputs, "work": work})
            metrics = node.spec.run(_job(node, recipe, inputs, out, work, log))
            return dict(plain({**metrics, "peak_memory_mb": peak_memory_mb()}))

        config, identities = node.identity_config(recipe), inputs_of(node, known)
        return store.write(kind, node.spec.version, config, identities, fill), "ran"


def _move_aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"damaged-{path.name}-{number}")).exists():
        number += 1
    return path.rename(aside)


def _disk_is_full(error: Exception) -> bool:
    """Also if a native library reports it in its own words."""
    if isinstance(error, TutelageError):
        return False
    number = error.errno if isinstance(error, OSError) else None
    return number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "No space left on device" in str(error)


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Within, SIGTERM (a scheduler's time limit, `kill`) acts like Ctrl-C. Training handles it better: it finishes its
    step."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    here = os.getpid()

    def handle(number: int, frame: Any) -> None:
        if os.getpid() != here:  # a forked worker simply exits
            os._exit(128 + number)
        raise Interrupted(STOPPED, hint=RESUME, signal=number)

    old = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)
