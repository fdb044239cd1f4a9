"""Common parts of the specs of finetuning methods. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tutelage.finetuning.config import FinetuneConfig
from tutelage.finetuning.data.folder import file_identities
from tutelage.store.events import EventLog
from tutelage.store.late import late
from tutelage.store.stage import Makes, StageSpec


def method(kind: str, *, version: int, title: str, config: type[FinetuneConfig], makes: Makes) -> StageSpec:
    """The spec of a method with its parts in the usual places of `finetuning/KIND/`: the function KIND in `stage.py`,
    the reading of the user's file in `rows.py`, and so on. A method replaces the fields that differ."""
    room = f"tutelage.finetuning.{kind}"
    return StageSpec(
        kind=kind,
        version=version,
        title=title,
        config=config,
        run=late(f"{room}.stage:{kind}"),
        makes=makes,
        needs=needs_of,
        seeds=("training", "data"),
        files=own_file,
        audit=audit_of(f"{room}.rows"),
        preflight=late(f"{room}.preflight:preflight"),
        trains=True,
        section=late(f"{room}.report:section"),
        sentence=late(f"{room}.report:sentence"),
        forecast=late(f"{room}.forecast:forecast"),
        result_facts=late(f"{room}.forecast:figures"),
        rules=late(f"{room}.rules:rules"),
    )


def needs_of(config: FinetuneConfig) -> tuple[str, ...]:
    """Inputs: a model, and the corpus if a task reads its rows from it."""
    from tutelage.tasks import task

    made = config.data is None and config.task is not None and not task(config.task).columns
    return ("model",) if config.data is not None or made else ("model", "corpus")


def own_file(config: FinetuneConfig) -> dict[str, str]:
    """The user's file, or the files of the folder."""
    return {} if config.data is None else file_identities(config.data)


def audit_of(stage: str) -> Callable[[Any, EventLog], int | None]:
    """A function that reads the user's file, if any, with `own_rows` of the module `stage` and counts its rows."""
    own_rows = late(f"{stage}:own_rows")

    def audit(config: Any, log: EventLog) -> int | None:
        return None if config.data is None else len(own_rows(config, log, 0)[0].train)

    return audit
