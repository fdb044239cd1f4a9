"""Published model families: one small file and one line in `registry.py` each."""

from __future__ import annotations

from tutelage.model.families.registry import FAMILIES
from tutelage.model.families.resolve import FamilyConfig, check_expressible, differing

__all__ = ["FAMILIES", "FamilyConfig", "check_expressible", "differing"]
