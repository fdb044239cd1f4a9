"""Daft and Ray in place of the process pool: the same documents, and errors as they are."""

from __future__ import annotations

import importlib.util
import json
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.daft_pool import _results
from tutelage.corpus.stage import build_corpus
from tutelage.store.errors import ConfigError, InputError
from tutelage.store.events import EventLog

FILES = ("train.parquet", "heldout.parquet", "card.json", "card.md", "removed.jsonl")
SETTINGS = {"prose": False, "rules": ("gopher_repetition", "c4"), "pii": "redact", "measure_selection": False}
SCRIPT = """
import json, os, sys
from pathlib import Path
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.daft_pool import daft_pool
from tutelage.corpus.stage import build_corpus
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog

def fail(number):
    if number == 2:
        raise InputError("the third", hint="none")
    return os.getpid()

if __name__ == "__main__":
    source, out, settings = sys.argv[1:]
    config = CorpusConfig(source=source, **json.loads(settings))
    build_corpus(config, Path(out), EventLog(), seed=1)
    told = daft_pool(config.engine).map(fail, [0, 1, 2])
    assert os.getpid() not in (next(told), next(told))  # in processes of their own
    try:
        next(told)
    except InputError as error:
        print(error)
    assert os.environ["DO_NOT_TRACK"] == "true"
"""


def write_source(root: Path) -> None:
    """Files enough for two tasks, with near duplicates that lie in different ones."""
    chance = random.Random(1)
    words = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(2, 9))) for _ in range(500)]
    texts = ["".join(" ".join(chance.choices(words, k=12)).capitalize() + ".\n" for _ in range(8)) for _ in range(40)]
    for number, text in enumerate([*texts, *(one + "Write to me@example.org at once.\n" for one in texts[:8])]):
        (root / f"{number:02}.txt").write_text(text, encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["daft", "ray"])
def test_the_documents_are_those_of_the_process_pool(engine: str, tmp_path: Path) -> None:
    pytest.importorskip(engine)
    (tmp_path / "source").mkdir()
    write_source(tmp_path / "source")
    config = CorpusConfig(source=str(tmp_path / "source"), **SETTINGS)
    build_corpus(config, tmp_path / "plain", EventLog(), seed=1, workers=1)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    settings = json.dumps({**SETTINGS, "engine": engine})
    command = [sys.executable, str(script), str(tmp_path / "source"), str(tmp_path / "other"), settings]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("the third (none)")
    assert json.loads((tmp_path / "plain" / "card.json").read_text())["steps"][-2]["removed"]  # near duplicates
    for name in FILES:
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "other" / name).read_bytes(), name


def halve(number: int) -> int:
    if number % 2:
        raise InputError(f"{number} is odd", hint="double it")
    return number // 2


def test_a_failed_task_tells_its_error_and_the_others_their_results() -> None:
    column = pa.array([pickle.dumps(number) for number in (4, 3, 2)])
    first, second, third = map(pickle.loads, _results(halve, column))
    assert (first, third) == (2, 1)
    assert isinstance(second, InputError) and str(second) == "3 is odd (double it)"


@pytest.mark.parametrize("engine", ["daft", "ray"])
def test_a_missing_package_is_named(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "daft" else find(name))
    (tmp_path / "a.txt").write_text("One sentence stands here.", encoding="utf-8")
    with pytest.raises(ConfigError, match=f"corpus.engine={engine} needs the package 'daft'.*tutelage.cluster"):
        build_corpus(CorpusConfig(source=str(tmp_path), engine=engine), tmp_path / "out", EventLog(), seed=1)
