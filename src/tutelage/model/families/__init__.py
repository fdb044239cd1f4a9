"""Published families: one small file each, and one line of registration in `registry.py`."""

from __future__ import annotations

from tutelage.model.families.registry import FAMILIES
from tutelage.model.families.resolve import FamilyConfig, check_expressible, differing

__all__ = ["FAMILIES", "FamilyConfig", "check_expressible", "differing"]
