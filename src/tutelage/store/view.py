"""What a section of a report is made from: a stage as it stands in its run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class View:
    """One stage of a run. `status`: ran, cached, skipped, failed, interrupted or pending."""

    name: str
    status: str = "pending"
    metrics: dict[str, Any] = field(default_factory=dict)
    directory: Path | None = None
