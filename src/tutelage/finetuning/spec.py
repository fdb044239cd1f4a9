"""What the specs of the finetuning methods share. Light to import."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tutelage.finetuning.config import FinetuneConfig
from tutelage.store.events import EventLog


def needs_of(config: FinetuneConfig) -> tuple[str, ...]:
    """A model, and the corpus where its rows come from a task."""
    return ("model",) if config.data is not None else ("model", "corpus")


def own_file(config: FinetuneConfig) -> dict[str, str]:
    return {} if config.data is None else {"data": config.data}


def audit_with(config: Any, log: EventLog, read: Callable[[Any, EventLog, int], tuple[Any, Any]]) -> int | None:
    """Read the user's own file, if there is one, so that what is wrong with it is said before anything long."""
    return None if config.data is None else len(read(config, log, 0)[0].train)
