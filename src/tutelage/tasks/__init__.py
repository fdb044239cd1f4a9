"""Tasks, one file each: a module with a `TASK`, which has the module's name."""

from __future__ import annotations

import importlib
import pkgutil

from tutelage.store.errors import ConfigError, nearest
from tutelage.tasks.task import Examples, Grade, Row, Task

__all__ = ["Examples", "Grade", "Row", "Task", "cautions_of", "task", "task_names"]

_PARTS = ("task",)  # modules that define no task


def task_names() -> list[str]:
    """Names of all tasks."""
    return sorted(name for _, name, _ in pkgutil.iter_modules(__path__) if name not in _PARTS)


def task(name: str) -> Task:
    """The task of that name. Raises ConfigError naming the nearest match if there is none."""
    if name not in task_names():
        raise ConfigError(f"there is no task {name!r}", hint=nearest(name, task_names()))
    found: Task = importlib.import_module(f"{__name__}.{name}").TASK
    return found


def cautions_of(name: object) -> tuple[str, ...]:
    """Limits of a task's metrics; empty for a task unknown to this version (of an older run)."""
    return task(name).cautions if isinstance(name, str) and name in task_names() else ()
