"""What is written beside the ledger: `ablation.json`, `ablation.html`, and `noise.json` for the self-test."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tutelage.ablation.bench import FOLDER, Findings
from tutelage.ablation.page import render
from tutelage.ablation.result import plain
from tutelage.ablation.selftest import Known
from tutelage.store.errors import DamagedError
from tutelage.store.files import write_atomic, write_json

RESULT, PAGE, NOISE = "ablation.json", "ablation.html", "noise.json"


@dataclass(frozen=True)
class Written:
    """The plain result and where its page lies."""

    plain: dict[str, Any]
    page: Path


def write_findings(found: Findings, beside: dict[str, Any] | None = None) -> Written:
    """Write the result and its page into the question's folder; those of the trial before are replaced.

    `beside`: further entries of the result; of `measures` (see `tokenizer.compare`) the page has a table.
    """
    data = (beside or {}) | plain(found)
    if found.noise:
        sizes = tuple(float(size) for size in found.scores[data["first"]].bytes)
        known = Known.of(found.noise, sizes)
        write_json(found.folder / NOISE, asdict(known))
    write_json(found.folder / RESULT, data)
    write_atomic(found.folder / PAGE, render(data))
    return Written(data, found.folder / PAGE)


def known_noise(root: Path, name: str) -> Known | None:
    """The noise that the last trial of a question measured; None where there is none yet."""
    path = root / FOLDER / name / NOISE
    if not path.is_file():
        return None
    try:
        noise = json.loads(path.read_text(encoding="utf-8"))
        return Known(float(noise["seed"]), float(noise["document"]), tuple(map(float, noise["sizes"])))
    except (ValueError, KeyError, TypeError):
        raise DamagedError(
            f"{path} is damaged", hint="run the question again; finished runs are not repeated"
        ) from None
