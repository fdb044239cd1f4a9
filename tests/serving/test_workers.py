"""Several processes behind one address: all serve, one that dies is started again, all end together."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tutelage.inference.language_model import LanguageModel
from tutelage.serving.metrics import Metrics, exposition
from tutelage.serving.workers import Place


@contextlib.contextmanager
def running(model: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`tutelage serve --workers 2`, and its address once it serves."""
    command = [sys.executable, "-m", "tutelage", "serve", str(model), "--port", "0", "--workers", "2", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        found = re.search(r"http://[\d.:]+", line)
        assert found and "by 2 processes" in line, line + process.stderr.read()
        yield process, found[0]
    finally:
        process.kill() if process.poll() is None else None
        process.wait()


def workers_of(pid: int) -> list[int]:
    """Processes that are its children."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(stat.parent.name))
    return sorted(found)


def wait_until(true: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.05)


@pytest.mark.slow
def test_all_serve_and_one_that_dies_is_started_again(lm: LanguageModel, tmp_path: Path) -> None:
    lm.save(tmp_path)
    body = {"model": "tutelage", "prompt": "ab", "max_tokens": 5, "seed": 1}
    with running(tmp_path) as (process, url):
        texts = {httpx.post(f"{url}/v1/completions", json=body).json()["choices"][0]["text"] for _ in range(12)}
        assert len(texts) == 1

        def counted() -> float:
            found = re.findall(r'requests_total\{route="/v1/completions",status="200",worker="\d"\} (\d+)',
                               httpx.get(f"{url}/metrics").text)  # fmt: skip
            return sum(map(float, found))

        wait_until(lambda: counted() == 12)  # whichever is asked tells of both
        first = workers_of(process.pid)
        assert len(first) == 2
        os.kill(first[0], signal.SIGKILL)
        assert process.stderr is not None and "is started again" in process.stderr.readline()
        wait_until(lambda: len(workers_of(process.pid)) == 2 and first[0] not in workers_of(process.pid))
        assert httpx.get(f"{url}/health").status_code == 200
        both = workers_of(process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0 and not any(Path(f"/proc/{pid}").exists() for pid in both)


@pytest.mark.slow
def test_an_answer_under_way_is_finished_before_the_end(lm: LanguageModel, tmp_path: Path) -> None:
    lm.save(tmp_path)
    body = {"model": "tutelage", "prompt": "a", "max_tokens": 60, "ignore_eos": True, "stream": True}
    with running(tmp_path) as (process, url), httpx.stream("POST", f"{url}/v1/completions", json=body) as answer:
        lines = answer.iter_lines()
        next(lines)
        process.send_signal(signal.SIGTERM)
        assert [line for line in lines if line][-1] == "data: [DONE]"
        assert process.wait(15) == 0


@pytest.mark.slow
def test_workers_do_not_outlive_the_first_process(lm: LanguageModel, tmp_path: Path) -> None:
    lm.save(tmp_path)
    with running(tmp_path) as (process, _):
        both = workers_of(process.pid)
        process.kill()
        process.wait()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in both), 15)


@pytest.mark.slow
def test_a_worker_that_cannot_serve_ends_all(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tutelage", "serve", str(tmp_path), "--port", "0", "--workers", "2"]
    made = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert made.returncode == 1 and "ended before it served" in made.stderr


def test_counters_of_all_are_told_by_each(tmp_path: Path) -> None:
    one, other = (Place(number, 2, -1, -1, str(tmp_path)) for number in (1, 2))
    metrics = Metrics(), Metrics()
    metrics[0].add("tutelage_requests_in_flight", value=3)
    metrics[1].add("tutelage_tokens_total", '{kind="prompt"}', 7)
    other.save(metrics[1])
    wait_until(lambda: (tmp_path / "2.json").exists(), 5)
    text = exposition(one.gathered(metrics[0]))
    assert 'tutelage_requests_in_flight{worker="1"} 3' in text
    assert 'tutelage_tokens_total{kind="prompt",worker="2"} 7' in text
    assert text.count("# TYPE tutelage_tokens_total counter") == 1
    assert "worker" not in metrics[0].text()
