"""The warnings of a run's training, as advice."""

from __future__ import annotations

from pathlib import Path

from tutelage.guidance.rules import Advice
from tutelage.store.events import read_events


def heard(events: Path) -> list[Advice]:
    """Distinct warnings since the last start of a run."""
    found: dict[tuple[str, str], Advice] = {}
    for event in read_events(events) if events.is_file() else ():
        if event["event"] == "run_start":
            found.clear()
        elif event["event"] == "warning" and event.get("stage"):
            rule = str(event.get("rule", "logged during the run"))
            key = (event["stage"], rule if event.get("rule") else event["message"])
            found.setdefault(key, Advice("warning", rule, event["stage"], event["message"], "", "this run"))
    return list(found.values())
