"""The short form of an audit, said before the first step, and the file that keeps the whole one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.store.events import EventLog
from tutelage.store.files import write_json

FILE = "data/audit.json"


def keep_and_tell(found: dict[str, Any], out: Path, log: EventLog) -> None:
    """Write the audit into the artifact, and say on the log what is trained and what follows."""
    write_json(out / FILE, found)
    if said := trained_sentence(found):
        log.note(said)
    for one in found["findings"]:
        said = one["message"] + (f" ({one['advice']})" if one["advice"] else "")
        log.warn(said) if one["level"] == "warning" else log.note(said)


def trained_sentence(found: dict[str, Any]) -> str:
    """Tokens that are learned of each role, stop tokens, begin-of-text; or what the method says itself."""
    tokens = found.get("tokens")
    if tokens is None:
        return str(found.get("said", ""))
    roles = ", ".join(f"{role} {of['learned']} of {of['read']}" for role, of in tokens["roles"].items())
    stops = f"{tokens['stopped_answers']} of {tokens['learned_answers']} learned answers end with a learned stop token"
    unlearned = tokens["answers"] - tokens["learned_answers"]
    read_only = f", {unlearned} answers are context only" if unlearned else ""
    return f"tokens learned: {roles}; {stops}{read_only}"
