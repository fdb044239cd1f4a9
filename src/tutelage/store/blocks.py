"""What a report's section is made of: plain dicts, which `report` draws."""

from __future__ import annotations

from typing import Any

Block = dict[str, Any]
