"""Training in several processes, as a user starts it: stopped, killed, and resumed with another number of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tutelage.cli.main import main
from tutelage.store.events import read_events

RECIPE = Path(__file__).parents[2] / "recipes" / "miniature.yaml"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    words = [f"{kind}{number}" for kind in ("river", "valley", "boat", "stone", "grain") for number in range(4)]
    with path.open("w") as out:
        for number in range(800):
            chosen = [words[(number * 7 + at * (number % 13 + 1)) % len(words)] for at in range(12 + number % 9)]
            out.write(json.dumps({"text": " ".join(chosen).capitalize() + f" in the year {number}."}) + "\n")
    return path


def command(texts: Path, out: Path, *more: str) -> list[str]:
    settings = {"corpus.source": texts, "corpus.prose": "false", "corpus.near_duplicate_threshold": 1.0,
                "corpus.max_overlap": 1.0, "tokenizer.vocab_size": 320, "pretrain.training.threads": 1,
                "pretrain.training.precision": "float32", "pretrain.training.checkpoint_seconds": 0.2}  # fmt: skip
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    verb = ["pretrain", "--recipe", str(RECIPE), "--out", str(out)]
    return [sys.executable, "-m", "tutelage", *verb, *sets, *more]


def done(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=200)


def steps(out: Path) -> list[dict[str, Any]]:
    return [event for event in read_events(out / "miniature" / "events.jsonl") if event["event"] == "step"]


def result(out: Path) -> float:
    (manifest,) = (out / "artifacts").glob("pretrain-*/manifest.json")
    return float(json.loads(manifest.read_text())["metrics"]["heldout_loss"])


def wait_for_step(out: Path, step: int) -> None:
    deadline = time.monotonic() + 100
    while not any(event["step"] >= step for event in steps(out)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def processes_of(out: Path) -> list[int]:
    """Processes that have this run's folder among their arguments."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(out).encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_killed_and_stopped_with_two_and_ended_with_one(texts: Path, tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert done(command(texts, alone)).returncode == 0
    two = command(texts, together, "--nproc", "2")

    started = subprocess.Popen(two, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for_step(together, 10)
    started.kill()  # nothing is left behind that would hold the run
    started.wait()
    deadline = time.monotonic() + 10
    while processes_of(together):
        assert time.monotonic() < deadline, processes_of(together)
        time.sleep(0.1)

    started = subprocess.Popen(two, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_step(together, 30)
    started.send_signal(signal.SIGTERM)
    output, errors = started.communicate(timeout=60)
    assert "resuming from step" in output
    assert started.returncode not in (0, 1, 2) and "the checkpoint is kept" in errors, (started.returncode, errors)

    last = done(command(texts, together))
    assert last.returncode == 0 and "resuming from step" in last.stdout, last.stderr
    assert result(together) == pytest.approx(result(alone), abs=2e-4)
    losses = [{event["step"]: event["loss"] for event in steps(out)} for out in (alone, together)]
    assert losses[1].keys() >= {1, 10, 60}
    for step in losses[0].keys() & losses[1].keys():
        assert losses[1][step] == pytest.approx(losses[0][step], abs=5e-4)


def test_a_killed_process_ends_the_run_with_one_line(texts: Path, tmp_path: Path) -> None:
    started = subprocess.Popen(
        command(texts, tmp_path, "--nproc", "2"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    wait_for_step(tmp_path, 10)
    second = next(
        number for number in processes_of(tmp_path)
        if b"\0RANK=1\0" in b"\0" + (Path("/proc") / str(number) / "environ").read_bytes()
    )  # fmt: skip
    os.kill(second, signal.SIGKILL)
    _, errors = started.communicate(timeout=60)
    assert started.returncode == 128 + signal.SIGKILL
    assert "another process of this run has exited" in errors and "Traceback" not in errors, errors
    assert done(command(texts, tmp_path)).returncode == 0


def test_more_processes_than_rows_are_refused_before_the_work(texts: Path, tmp_path: Path) -> None:
    refused = done(command(texts, tmp_path, "--nproc", "2", "--set", "pretrain.training.accumulation=8"))
    assert refused.returncode == 2 and "cannot be split over 2 processes" in refused.stderr, refused.stderr


def test_a_learning_rate_is_found_and_nothing_trained(
    texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def found(*more: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(command(texts, tmp_path, "--find-rate", *more)[3:])
        captured = capsys.readouterr()
        assert ended.value.code == 0, captured.err
        return captured.out

    data = json.loads(found("--json"))
    assert 1e-4 < data["suggested"] < 1 and len(data["rates"]) == len(data["losses"])
    shown = found()
    assert "Use it:" in shown and f"learning_rate={data['suggested']:g}" in shown
    assert not list((tmp_path / "artifacts").glob("pretrain-*"))
