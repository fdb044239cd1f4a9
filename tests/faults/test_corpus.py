"""A corpus preparation that is killed goes on from the parts that are finished, to the same bytes."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from tutelage.corpus import reading, shelf, stage, workshop
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.finished import finish
from tutelage.corpus.stage import build_corpus
from tutelage.store.errors import InputError, Interrupted
from tutelage.store.events import EventLog

MADE = ("train.parquet", "heldout.parquet", "card.json", "card.md", "croissant.json", "removed.jsonl")
WORDS = ["river", "mountain", "harbour", "engine", "garden", "letter", "window", "teacher", "forest", "island"]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CorpusConfig:
    """Five files that are read by five tasks, two parts each; two steps rewrite them."""
    monkeypatch.setattr(reading, "_FILES_TOGETHER", 1)
    monkeypatch.setattr(shelf, "_PART_CHARACTERS", 2000)
    chance = random.Random(3)
    (tmp_path / "source").mkdir()
    for number in range(5):
        rows = []
        for _ in range(20):
            a, b, c = chance.sample(WORDS, 3)
            more = " ".join(chance.choices(WORDS, k=12))
            rows.append({"text": f"The {a} near the {b} follows {more} and a {c}.\n\nWrite to me@example.org soon."})
        rows += [rows[0], {"text": "x = 1"}, {"text": ""}, {"body": "no text"}]
        lines = "\n".join(json.dumps(row) for row in rows)
        (tmp_path / "source" / f"{number:02}.jsonl").write_text(lines, encoding="utf-8")
    return CorpusConfig(
        source=str(tmp_path / "source"), pii="redact", max_overlap=1.0, heldout=0.2, measure_selection=False
    )


def killed_after(config: CorpusConfig, out: Path, work: Path, tasks: int) -> int:
    """Build in another process, which kills itself in the task after so many; its exit code."""

    def run() -> None:
        done = 0

        def finish_or_die(*arguments: Any) -> None:
            nonlocal done
            if done == tasks:  # the files of the task are there, its record is not
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1
            finish(*arguments)

        reading.finish = workshop.finish = finish_or_die  # type: ignore[attr-defined]
        build_corpus(config, out, EventLog(), seed=1, workers=1, work=work)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(60)
    return int(process.exitcode or 0)


def test_a_killed_preparation_goes_on_from_its_finished_parts(
    config: CorpusConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def counted(task: Path, *rest: Any) -> None:
        done.append(task.name)
        finish(task, *rest)

    monkeypatch.setattr(reading, "finish", counted)
    monkeypatch.setattr(workshop, "finish", counted)
    build_corpus(config, tmp_path / "straight", EventLog(), seed=1, workers=1, work=tmp_path / "a")
    every = list(done)
    assert len(every) == 25 and not (tmp_path / "a").exists()
    for tasks in (1, 15, 24):
        out, work = tmp_path / f"out-{tasks}", tmp_path / f"work-{tasks}"
        assert killed_after(config, out, work, tasks) == -signal.SIGKILL
        (work / "near-keys-0-0").write_bytes(b"left over")
        notes: list[str] = []
        log = EventLog(listeners=(lambda event, notes=notes: notes.append(str(event.get("message"))),))  # type: ignore[misc]
        done.clear()
        build_corpus(config, out, log, seed=1, workers=2 if tasks > 1 else 1, work=work)
        assert any(f"{tasks} parts are finished" in note for note in notes)
        if tasks == 1:
            assert done == every[1:]
        for name in MADE:
            assert (out / name).read_bytes() == (tmp_path / "straight" / name).read_bytes(), (tasks, name)
        assert not work.exists()


def test_a_part_that_is_cut_off_is_made_again(config: CorpusConfig, tmp_path: Path) -> None:
    build_corpus(config, tmp_path / "straight", EventLog(), seed=1, workers=1)
    assert not (tmp_path / "straight.parts").exists()
    out, work = tmp_path / "out", tmp_path / "work"
    assert killed_after(config, out, work, 15) == -signal.SIGKILL
    first, second, third = sorted(work.glob("prose-*.arrow"))[:3]
    first.write_bytes(first.read_bytes()[:-100])
    second.unlink()
    third.with_name("-".join(third.stem.split("-")[:-1]) + ".json").write_text("{", encoding="utf-8")
    build_corpus(config, out, EventLog(), seed=1, workers=1, work=work)
    for name in MADE:
        assert (out / name).read_bytes() == (tmp_path / "straight" / name).read_bytes(), name


def test_one_that_is_interrupted_keeps_its_parts(
    config: CorpusConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise Interrupted("stopped")

    monkeypatch.setattr(stage, "without_exact_duplicates", stop)
    with pytest.raises(Interrupted):
        build_corpus(config, tmp_path / "out", EventLog(), seed=1, workers=1, work=tmp_path / "work")
    assert len(list((tmp_path / "work").glob("prose-*.json"))) == 10


def test_a_source_that_is_refused_leaves_nothing(config: CorpusConfig, tmp_path: Path) -> None:
    refused = CorpusConfig(source=config.source, min_words=1000)
    with pytest.raises(InputError, match="nothing is left"):
        build_corpus(refused, tmp_path / "out", EventLog(), seed=1, workers=1, work=tmp_path / "work")
    assert not (tmp_path / "work").exists()
