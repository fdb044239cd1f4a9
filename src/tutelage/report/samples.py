"""Samples of what the models say: untrusted text, put into one shape for the template."""

from __future__ import annotations

from typing import Any

from tutelage.report.blocks import Block
from tutelage.report.figures import MODELS

_MOST = 12


def answers(lines: list[dict[str, Any]]) -> list[Block]:
    """Prompt, what the author wrote and what each model answers."""
    return _rows([line for line in lines if line.get("kind") != "continuation"])


def continuations(lines: list[dict[str, Any]], events: list[dict[str, Any]]) -> list[Block]:
    """How the base model goes on from an opening; of an unfinished run, the last samples of its log."""
    rows = _rows([line for line in lines if line.get("kind") == "continuation"])
    if rows:
        return rows
    return [
        {
            "prompt": str(e.get("prompt") or ""),
            "answers": [(str(e.get("title") or "Base"), str(e.get("text") or ""), "ink")],
        }
        for e in [event for event in events if event.get("event") == "sample"][-3:]
    ]


def _rows(lines: list[dict[str, Any]]) -> list[Block]:
    rows = []
    for line in lines[:_MOST]:
        outputs = line.get("outputs")
        said = [("Author", line["reference"], "quiet")] if isinstance(line.get("reference"), str) else []
        for who, name in MODELS.items():
            text = outputs.get(who) if isinstance(outputs, dict) else None
            if isinstance(text, str):
                said.append((name, text, "accent" if who in ("instruct", "prefer") else "ink"))
        if said:
            rows.append({"prompt": str(line.get("prompt") or ""), "answers": said})
    return rows
