"""Log the short form of an audit before the first step, and save the whole one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.store.events import EventLog
from tutelage.store.files import write_json

FILE = "data/audit.json"


def keep_and_tell(found: dict[str, Any], out: Path, log: EventLog) -> None:
    """Save the audit in the artifact, and log a summary and the findings."""
    write_json(out / FILE, found)
    if said := trained_sentence(found):
        log.note(said)
    for one in found["findings"]:
        said = one["message"] + (f" ({one['advice']})" if one["advice"] else "")
        log.warn(said) if one["level"] == "warning" else log.note(said)


def trained_sentence(found: dict[str, Any]) -> str:
    """Target tokens by role, and trained stop tokens; or the method's own sentence."""
    tokens = found.get("tokens")
    if tokens is None:
        return str(found.get("said", ""))
    roles = ", ".join(f"{role} {of['learned']} of {of['read']}" for role, of in tokens["roles"].items())
    stops = (
        f"{tokens['stopped_answers']} of {tokens['learned_answers']} answers with loss end with a trained stop token"
    )
    unlearned = tokens["answers"] - tokens["learned_answers"]
    read_only = f", {unlearned} answers are context only" if unlearned else ""
    return f"tokens with loss: {roles}; {stops}{read_only}"
