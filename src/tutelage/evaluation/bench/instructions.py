"""IFEval: whether an answer keeps instructions that a program can verify (Zhou et al. 2023, arXiv:2311.07911)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def kept(row: Mapping[str, Any], text: str) -> dict[str, float]:
    raise NotImplementedError
