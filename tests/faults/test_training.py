"""What may befall a run: kills at any moment, flipped bytes, files that vanish, a full disk."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tutelage.store.errors import DamagedError
from tutelage.store.events import EventLog
from tutelage.training.checkpoint import writer
from tutelage.training.checkpoint.reader import load_latest, verify
from tutelage.training.checkpoint.writer import CheckpointWriter
from tutelage.training.distributed.parallel import Layout
from tutelage.training.distributed.world import World


@pytest.mark.parametrize("kills", [15, pytest.param(100, marks=pytest.mark.slow)])
def test_kills_at_random_moments_change_nothing(kills: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("killed.py"), tmp_path, str(kills), "1"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["kills"] == kills and told["while_writing"] > 0
    assert len(told["hashes"]) >= 2 and len(set(told["hashes"].values())) == 1, told


class Saved:
    """A model with a little training behind it, and its checkpoints of steps 1 to 3."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.model, self.optimizers, self.weights = nn.Linear(8, 8), [], []
        self.optimizers = [torch.optim.AdamW(self.model.parameters(), lr=0.1)]
        self.writer = CheckpointWriter(root, 3, World(), Layout())
        for step in (1, 2, 3):
            self.step()
            self.save(step)
        self.writer.wait()

    def step(self) -> None:
        self.model(torch.ones(2, 8)).square().sum().backward()
        self.optimizers[0].step()
        self.optimizers[0].zero_grad()

    def save(self, step: int) -> None:
        self.writer.save(step, self.model, self.optimizers, {"fingerprint": "a"})
        self.weights.append(self.model.weight.detach().clone())


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    return Saved(tmp_path / "checkpoints")


def loaded(root: Path, messages: list[str] | None = None) -> tuple[Tensor, int]:
    """Weights and step that a fresh model resumes with."""
    model = nn.Linear(8, 8)
    heard: list[dict[str, Any]] = []
    state = load_latest(
        root, model, [torch.optim.AdamW(model.parameters(), lr=0.1)], "a", EventLog(listeners=(heard.append,))
    )
    if messages is not None:
        messages += [str(event["message"]) for event in heard]
    return model.weight.detach(), int(state["step"]) if state else 0


FILES = ("rank-00000.safetensors", "rank-00000.json", "state.json", "manifest.json")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["flip", "cut", "vanish"])
def test_a_damaged_file_is_named_and_the_checkpoint_before_it_used(saved: Saved, name: str, damage: str) -> None:
    file = saved.root / "step-00000003" / name
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        file.unlink()
    with pytest.raises(DamagedError):
        verify(file.parent)
    messages: list[str] = []
    weight, step = loaded(saved.root, messages)
    assert step == 2 and torch.equal(weight, saved.weights[1])
    assert "step-00000003" in messages[0] and "trying the previous checkpoint" in messages[0]
    assert (saved.root / "damaged-step-00000003").is_dir()


def test_every_byte_counts(saved: Saved) -> None:
    """Any single flipped byte of any file is found."""
    folder = saved.root / "step-00000003"
    for name in FILES:
        whole = (folder / name).read_bytes()
        for at in range(0, len(whole), max(1, len(whole) // 40)):
            (folder / name).write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
            with pytest.raises(DamagedError):
                verify(folder)
        (folder / name).write_bytes(whole)
    verify(folder)


def test_what_is_saved_is_what_was_there_when_it_was_asked_for(
    saved: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    slow = writer.save_file

    def slowly(*arguments: Any) -> None:
        time.sleep(0.3)
        slow(*arguments)

    monkeypatch.setattr(writer, "save_file", slowly)
    saved.step()
    begin = time.monotonic()
    saved.save(4)
    assert not (saved.root / "step-00000004").exists() and time.monotonic() - begin < 0.3
    saved.step()  # goes on in the same memory
    saved.writer.wait()
    weight, step = loaded(saved.root)
    assert step == 4 and torch.equal(weight, saved.weights[3]) and not torch.equal(weight, saved.model.weight)


@pytest.mark.parametrize("what", ["save_file", "write_json", "sha256_file"])
def test_a_full_disk_is_told_and_leaves_what_was_there(
    saved: Saved, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:  # fmt: skip
    def full(*arguments: Any, **more: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writer, what, full)
    saved.save(4)
    with pytest.raises(OSError, match="No space"):
        saved.writer.wait()
    monkeypatch.undo()
    assert not list(saved.root.glob(".*")), "something half-written is left"
    weight, step = loaded(saved.root)
    assert step == 3 and torch.equal(weight, saved.weights[2])
    saved.save(4)  # there is room again
    saved.writer.wait()
    assert loaded(saved.root)[1] == 4


def test_a_failed_run_does_not_wait_for_a_process_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(World, "wait", lambda self: None)
    model = nn.Linear(2, 2)
    one = CheckpointWriter(tmp_path, 2, World(0, 2), Layout())  # the second rank never writes its shards
    one.save(1, model, [], {"fingerprint": "a"})
    begin = time.monotonic()
    one.give_up()
    assert time.monotonic() - begin < 30 and not list(tmp_path.glob("*step*"))


def test_what_a_kill_left_is_removed(saved: Saved) -> None:
    (saved.root / ".step-00000009.tmp").mkdir()
    (saved.root / ".step-00000009.tmp" / "rank-00000.safetensors").write_bytes(b"half")
    (saved.root / ".latest.123.tmp").write_text("step")
    CheckpointWriter(saved.root, 3, World(), Layout())
    assert not list(saved.root.glob(".*"))
    assert loaded(saved.root)[1] == 3
