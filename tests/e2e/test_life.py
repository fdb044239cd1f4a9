"""The whole life in miniature, as a user runs it: through the command line, killed on the way, and resumed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tutelage.cli.main import main
from tutelage.corpus.python_docs import python_files, read_python_file
from tutelage.store.events import read_events

RECIPE = Path(__file__).parents[2] / "recipes" / "miniature.yaml"
MODULES = ("asyncio", "email", "http", "json", "logging", "unittest", "xml", "urllib", "concurrent", "importlib",
           "networkx/algorithms/a", "networkx/algorithms/b", "networkx/algorithms/c", "networkx/classes")  # fmt: skip


def tutelage(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "tutelage", *arguments], capture_output=True, text=True, env=environment, timeout=300
    )
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def in_here(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The same in this process, which need not be started; what it prints."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    captured = capsys.readouterr()
    assert ended.value.code == 0, captured.out + captured.err
    return captured.out


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documentation of a few modules as a JSONL file with one malformed line."""
    path = tmp_path_factory.mktemp("texts") / "docs.jsonl"
    files = [file for file in python_files("required", True) if file.name.startswith(MODULES)]
    with path.open("w", encoding="utf-8") as out:
        out.write('{"text": "cut short\n')
        for file in files:
            for document in read_python_file(file)[0]:
                fields = ("text", "name", "kind", "signature", "summary", "label")
                out.write(json.dumps({field: getattr(document, field) for field in fields}) + "\n")
    return path


def arguments(texts: Path, out: Path) -> list[str]:
    return ["run", str(RECIPE), "--set", f"corpus.source={texts}", "--out", str(out)]


@pytest.fixture(scope="module")
def straight(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Store of an undisturbed run."""
    out = tmp_path_factory.mktemp("straight")
    done = tutelage(*arguments(texts, out))
    assert "report.html" in done.stdout and "tutelage chat" in done.stdout
    return out


def record(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "miniature" / "run.json").read_text()))


def files(out: Path) -> dict[str, dict[str, str]]:
    """Hashes of every file of every artifact, by stage."""
    found = {}
    for manifest in sorted((out / "artifacts").glob("*/manifest.json")):
        data = json.loads(manifest.read_text())
        found[data["stage"]] = {name: entry["sha256"] for name, entry in data["files"].items()}
    return found


def differing(one: Path, two: Path) -> list[str]:
    """Names of the files that are not the same in both stores."""
    a, b = files(one), files(two)
    assert a.keys() == b.keys()
    return [
        f"{stage}/{name}"
        for stage in a
        for name in {**a[stage], **b[stage]}
        if a[stage].get(name) != b[stage].get(name)
    ]


def test_every_stage_ran_and_the_report_stands_alone(straight: Path) -> None:
    stages = {stage["stage"]: stage["status"] for stage in record(straight)["stages"]}
    assert set(stages.values()) == {"ran"} and len(stages) == 9, stages
    report = (straight / "miniature" / "report.html").read_text()
    assert "<script" not in report and 'src="http' not in report and 'href="http' not in report
    for word in ("bits per byte", "xz", "TF-IDF", "chrF", "PEP 257", "1 malformed record left out", "not JSON"):
        assert word in report, word


def kill_when(command: list[str], out: Path, stage: str, step: int) -> None:
    """Start the command and SIGKILL it once `stage` has passed `step`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tutelage", *command, "--set", "pretrain.training.checkpoint_seconds=0.2",
         "--set", "finetune.instruct.training.checkpoint_seconds=0.2"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "2"},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not any(passed(out, stage, step)):
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def passed(out: Path, stage: str, step: int) -> Iterator[bool]:
    for event in read_events(out / "miniature" / "events.jsonl"):
        if event["event"] == "step" and event.get("stage") == stage and event["step"] >= step:
            yield True


def test_killed_in_pretraining_and_in_finetuning_it_ends_bit_identical(
    straight: Path, texts: Path, tmp_path: Path
) -> None:
    command = arguments(texts, tmp_path)
    kill_when(command, tmp_path, "base", 20)
    assert list((tmp_path / "work").glob("pretrain-*/checkpoints/step-*")), "no checkpoint was kept"
    kill_when(command, tmp_path, "instruct", 20)
    done = tutelage(*command)
    assert "resuming from step" in done.stdout
    assert differing(tmp_path, straight) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own whose size can be changed; needs the right to mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no right to mount a file system here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_with_room_the_same_command_goes_on(
    straight: Path, texts: Path, small_disk: Path
) -> None:
    """A real file system, full at one moment after another; what was finished stays whole and the end is the same."""
    whole = sum(path.stat().st_size for path in straight.rglob("*") if path.is_file())
    command = arguments(texts, small_disk)
    failed = 0
    for share in (0.05, 0.3, 0.45, 0.6, 0.8):
        subprocess.run(["mount", "-o", f"remount,size={int(share * whole)}", small_disk], check=True)
        done = tutelage(*command, check=False)
        assert done.returncode in (0, 1), done.stderr
        assert "Traceback" not in done.stderr + done.stdout
        if done.returncode:
            failed += 1
            assert "full" in done.stderr.strip().splitlines()[-2:][0] + done.stderr.strip().splitlines()[-1], (
                done.stderr
            )
        finished = files(small_disk)
        assert finished == {stage: hashes for stage, hashes in files(straight).items() if stage in finished}
    assert failed >= 3
    subprocess.run(["mount", "-o", "remount,size=1g", small_disk], check=True)
    tutelage(*command)
    assert files(small_disk) == files(straight)


def test_run_again_it_comes_from_the_cache_and_a_changed_key_runs_what_depends_on_it(
    straight: Path, texts: Path
) -> None:
    begin = time.monotonic()
    tutelage(*arguments(texts, straight))
    assert time.monotonic() - begin < 30  # a hang, not a speed
    assert {stage["status"] for stage in record(straight)["stages"]} == {"cached"}
    planned = json.loads(tutelage("plan", *arguments(texts, straight)[1:], "--json", "--set",
                                  "finetune.prefer.beta=0.3").stdout)  # fmt: skip
    assert [stage["stage"] for stage in planned["stages"] if stage["status"] == "run"] == ["prefer", "evaluate"]


def test_the_model_is_used_every_way(straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(straight)]
    answer = json.loads(tutelage("chat", "--message", "What does close(self) do?", "--json", *out).stdout)
    assert answer["tokens"] > 0 and answer["stop_reason"] in ("stop", "length")
    assert in_here(capsys, "generate", "Return the", "--max-tokens", "5", *out).startswith("Return the")
    labels = json.loads(in_here(capsys, "classify", "Send a request to the server.", "--json", *out))
    assert sum(labels["probabilities"].values()) == pytest.approx(1.0, abs=1e-4)
    lineage = json.loads(in_here(capsys, "lineage", "--json", *out))
    assert lineage["stage"] == "evaluate" and "source" in json.dumps(lineage)
    exported = json.loads(in_here(capsys, "export", str(tmp_path / "m"), "--json", *out))
    assert exported["parity"]["passed"] in (True, None)
    assert (tmp_path / "m" / "model.safetensors").exists() and (tmp_path / "m" / "chat_template.jinja").exists()


@pytest.mark.parity
def test_transformers_loads_the_export_with_equal_logits(
    straight: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers", reason="parity needs the dev extra")
    for stage in ("base", "classify", "instruct", "prefer"):
        model = (
            straight
            / "miniature"
            / next(entry["artifact"] for entry in record(straight)["stages"] if entry["stage"] == stage)
        )
        exported = json.loads(in_here(capsys, "export", str(tmp_path / stage), "--model", str(model), "--json"))
        assert exported["parity"]["passed"] is True and exported["parity"]["max_difference"] < 1e-4


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        (["run", "none.yaml"], 2, "none.yaml does not exist"),
        (["quickstart", "--corpus", "no/such/folder"], 2, "no/such/folder"),
        (["plan", "--set", "pretrain.training.stepz=3"], 2, "did you mean 'steps'"),
        (["plan", "--set", "model.num_kv_heads=3"], 2, "multiple of num_kv_heads"),
        (["quickstrat"], 2, "quickstart"),
        (["run", str(RECIPE), "--sett", "a=b"], 2, "--set"),
        (["chat", "--out", "nowhere"], 2, "tutelage quickstart"),
        (["chat", "--model", "nowhere"], 2, "nowhere does not exist"),
    ],
)
def test_wrong_usage_is_one_clear_line(command: list[str], code: int, says: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tutelage", *command], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.returncode == code, done.stderr
    assert says in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.txt", b"", "no documents|empty"),
        ("binary.txt", bytes(range(256)) * 4, "text"),
        ("bad.jsonl", b'{"text": 1}\n{"text": \n', "bad.jsonl:1"),
    ],
)
def test_unusable_text_fails_before_anything_is_written(
    name: str, content: bytes, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        main(["corpus", "--source", str(tmp_path / name), "--out", str(tmp_path / "runs")])
    told = capsys.readouterr().err
    assert ended.value.code == 1, told
    assert re.search(says, told) and "Traceback" not in told, told
    assert not list((tmp_path / "runs" / "artifacts").iterdir())


def test_help_is_fast_and_does_not_load_torch() -> None:
    code = "import sys; sys.argv=['tutelage','--help']\n" \
           "import tutelage.cli.main as m\n" \
           "try: m.main()\nexcept SystemExit: pass\n" \
           "assert 'torch' not in sys.modules"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "quickstart" in done.stdout, done.stderr
