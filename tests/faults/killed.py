"""Train, be killed, train again: `killed.py FOLDER KILLS SEED` prints what became of it as JSON.

The training processes are forks of this one, so that one kill costs a fraction of a second.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.pretraining.objective import NextToken, pack_documents
from tutelage.store.events import EventLog
from tutelage.training.config import TrainingConfig
from tutelage.training.loop import train

STEPS = 120
MODEL = FamilyConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_layers=2, num_heads=4, num_kv_heads=2,
                    max_position_embeddings=64)  # fmt: skip
TEXTS = [[(3 * start + 5 * at) % 60 + 4 for at in range(4 + start % 23)] for start in range(80)]


def run(work: Path) -> str:
    """Train to the end, from wherever `work` is; returns the hash of the weights."""
    rows = {"train": pack_documents(TEXTS[:70], 0, 32), "validation": pack_documents(TEXTS[70:], 0, 32)}
    config = TrainingConfig(steps=STEPS, batch_rows=4, learning_rate=5e-3, warmup_steps=4, optimizer="muon", threads=1,
                            precision="float32", checkpoint_seconds=0.02, validate_every=17, log_every=1)  # fmt: skip
    model = DecoderLM(MODEL, seed=1)
    train(model, NextToken(rows, torch.ones(64, dtype=torch.int64), 0), config, work, EventLog(), seed=1)
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in model.state_dict().values())).hexdigest()


def forked(work: Path) -> int:
    """Start training in a fork; it leaves its hash in `work`.done."""
    child = os.fork()
    if child == 0:
        work.with_suffix(".done").write_text(run(work))
        os._exit(0)
    return child


def writing(work: Path, since: float) -> bool:
    """Whether a checkpoint was begun since then and is not whole; what an earlier kill has left does not count."""
    with contextlib.suppress(OSError):  # it becomes whole while it is looked at
        return any(part.stat().st_mtime >= since for part in (work / "checkpoints").glob(".step-*.tmp"))
    return False


def main(folder: Path, kills: int, seed: int) -> None:
    torch.set_num_threads(1)
    draw = random.Random(seed)
    (folder / "straight.done").write_text(run(folder / "straight"))  # here, so that no fork imports or sets up anything
    killed = while_writing = rounds = 0
    work = folder / "killed"
    while killed < kills:
        rounds += 1
        begun = time.time()
        child = forked(work)
        end = time.monotonic() + draw.uniform(0.02, 0.35)
        while time.monotonic() < end and os.waitpid(child, os.WNOHANG) == (0, 0):
            time.sleep(0.001)
        done = work.with_suffix(".done")
        if killed % 5 == 4:  # every fifth in the middle of a checkpoint, which is looked for without a pause
            while not writing(work, begun) and not done.exists() and time.monotonic() < end + 1:
                pass
        if done.exists():  # it was faster: once more from the beginning, with kills left over
            work = folder / f"killed-{rounds}"
            continue
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        killed += 1
        while_writing += writing(work, begun)
    os.waitpid(forked(work), 0)
    hashes = {path.name: path.read_text() for path in sorted(folder.glob("*.done"))}
    print(json.dumps({"kills": killed, "while_writing": while_writing, "hashes": hashes}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
