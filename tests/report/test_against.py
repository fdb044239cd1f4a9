"""Two runs on one page: what differs, what is paired, and why not where nothing is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tutelage.report.against import write_comparison
from tutelage.store.errors import InputError


def run_folder(root: Path, name: str, rate: float, bits: float, status: str = "done", **more: Any) -> Path:
    folder = root / name
    folder.mkdir()
    recipe = {"name": name, "seed": 1, "pretrain": {"training": {"learning_rate": rate}}, **more}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    stages = [{"stage": "base", "kind": "pretrain", "status": "ran", "identity": name, "seconds": 5.0,
               "metrics": {"parameters": 1000, "heldout_bits_per_byte": bits, "peak_memory_mb": 100}}]  # fmt: skip
    (folder / "run.json").write_text(json.dumps({"recipe": name, "status": status, "stages": stages}))
    curve = [{"event": "step", "time": float(at), "stage": "base", "step": at, "loss": 5 - 0.1 * at} for at in range(9)]
    (folder / "events.jsonl").write_text("".join(json.dumps(one) + "\n" for one in curve))
    return folder


def test_the_page_says_what_differs_and_why_there_is_no_verdict(tmp_path: Path) -> None:
    before, after = run_folder(tmp_path, "before", 0.01, 2.0), run_folder(tmp_path, "after", 0.02, 1.9, extra="<i>")
    path = write_comparison(before, after)
    page = path.read_text()
    assert path == after / "against-before.html"
    assert page.index("Verdicts") < page.index("What differs in the recipes") < page.index("Figures")
    assert "No paired verdict" in page and "not judged: only paired items decide" in page
    assert "pretrain.training.learning_rate" in page and "0.01" in page and "0.02" in page and ">seed<" not in page
    assert "not there" in page and "&lt;i&gt;" in page and "<script" not in page
    assert "1.9" in page and "<svg" in page


def test_equal_recipes_and_unfinished_runs_are_said(tmp_path: Path) -> None:
    before, after = run_folder(tmp_path, "a", 0.01, 2.0), run_folder(tmp_path, "b", 0.01, 2.0, status="failed")
    page = write_comparison(before, after).read_text()
    assert "both ran the same recipe" in page and "Not finished: b" in page


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    before = run_folder(tmp_path, "a", 0.01, 2.0)
    with pytest.raises(InputError, match="not a run folder"):
        write_comparison(before, tmp_path / "nothing")
