"""A small model as benchmarks see it, and a few rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tutelage.evaluation.bench.ours import OurModel
from tutelage.evaluation.bench.task import BenchTask
from tutelage.inference.language_model import LanguageModel

ROWS: list[dict[str, Any]] = [
    {"q": f"What is {a} and {b}?", "options": [str(a + b), str(a), "none at all"], "right": 0, "kind": "ab"[a % 2]}
    for a in range(1, 6)
    for b in range(1, 5)
]


@pytest.fixture(scope="session")
def model(lm: LanguageModel) -> OurModel:
    assert lm.model.embed_tokens.weight.dtype == torch.float32
    return OurModel(lm, "tiny")


@pytest.fixture
def sums() -> BenchTask:
    return BenchTask.parse(
        {"name": "sums", "title": "sums", "kind": "choice", "data": {"sources": [{"rows": ROWS}]},
         "context": "{{q}}", "choices": "options", "gold": "right", "metric": "acc_norm", "group": "kind"}
    )  # fmt: skip


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path
