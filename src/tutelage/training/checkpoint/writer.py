"""Writing checkpoints: in the background, sharded, into a new directory; SHA-256 manifest, fsync, rename, then
`latest`; never overwritten."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import time
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tutelage.store.errors import TrainingError
from tutelage.store.files import fsync_path, write_atomic, write_json
from tutelage.store.hashing import sha256_file
from tutelage.training.checkpoint.folder import BEST, MARKS, ROLLBACK, checkpoints, name_of, rank_file, step_of
from tutelage.training.checkpoint.shards import copied_shards
from tutelage.training.checkpoint.tensors import named_state, prefixed
from tutelage.training.distributed.parallel import Layout
from tutelage.training.distributed.world import World

ROLLBACKS_KEPT = 2
PATIENCE = 600.0  # s that rank 0 waits for the files of the other ranks
GRACE = 2.0  # s that it waits after the run has failed


class CheckpointWriter:
    """Writes `root/step-N` in a separate thread while training continues; one at a time.

    The state is copied before `save` returns. An error in the thread is raised by the next `save` or `wait`. Each rank
    writes its shards; rank 0 commits when all files exist. As a context manager it finishes writing at the end of the
    block, also after an error.
    """

    def __init__(self, root: Path, keep: int, world: World, layout: Layout) -> None:
        self.root, self.keep, self.world, self.layout = root, keep, world, layout
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._given_up = 0.0
        self.scan()
        if world.first:
            for left in root.glob(".*.tmp"):  # left over from a killed run
                shutil.rmtree(left) if left.is_dir() else left.unlink()

    def scan(self) -> None:
        """Scan the folder: at the start, and after loading has moved damaged checkpoints aside."""
        self.written = {step_of(path) for path in checkpoints(self.root)}  # complete checkpoints never change
        self.marked = {
            mark: {step_of(path) for path in checkpoints(self.root) if (path / mark).exists()} for mark in MARKS
        }

    def save(
        self, step: int, model: nn.Module, optimizers: list[torch.optim.Optimizer], state: dict[str, Any],
        extra: dict[str, Tensor] | None = None, marks: Collection[str] = (),
    ) -> None:  # fmt: skip
        """Start writing the trained weights, their optimizer state, `extra` tensors by name, and `state` (JSON).

        Marked checkpoints are kept in addition to the last `keep`. `state["fingerprint"]` identifies the run, including
        the frozen weights, which are not written.
        """
        self.wait()
        for mark in marks:
            self.marked[mark].add(step)
        if step in self.written:
            if self.world.first:
                self._mark(self.root / name_of(step), step)
            return
        self.written.add(step)
        tensors, scalars = named_state(model, optimizers, self.layout.duplicate)
        tensors |= prefixed({key: value for key, value in (extra or {}).items() if not self.layout.duplicate(key)})
        shards = copied_shards(tensors, self.layout.mesh)
        shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
        record = json.loads(json.dumps({**state, "step": step}))  # a snapshot
        temporary = self.root / f".{name_of(step)}.tmp"
        if self.world.first:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        self.world.wait()
        self._thread = threading.Thread(target=self._write, args=(temporary, step, shards, shapes, scalars, record))
        self._thread.start()

    def give_up(self) -> None:
        """After a failure: finish the write if possible, without waiting for ranks that may be gone."""
        self._given_up = time.monotonic()
        with contextlib.suppress(Exception):  # report the original failure instead
            self.wait()

    def wait(self) -> None:
        """Block until writing has finished. Raises errors of the writing thread."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _write(
        self, out: Path, step: int, shards: dict[str, tuple[Tensor, list[int]]], shapes: dict[str, list[int]],
        scalars: dict[str, Any], state: dict[str, Any],
    ) -> None:  # fmt: skip
        try:
            file = rank_file(out, self.world.rank)
            save_file({name: shard for name, (shard, _) in shards.items()}, file)
            fsync_path(file)
            index = {
                name: {"offset": offset, "size": list(shard.shape), "shape": shapes[name],
                       "dtype": str(shard.dtype).removeprefix("torch.")}
                for name, (shard, offset) in shards.items()
            }  # fmt: skip
            # Written last and renamed into place: once it exists, this rank's shards are complete.
            write_json(file.with_suffix(".json"), {"sha256": sha256_file(file), "shards": index, "scalars": scalars})
            if self.world.first:
                self._commit(out, step, state)
        except BaseException as error:  # handed to the training thread
            self.written.discard(step)
            self._error = error
            if self.world.first:
                shutil.rmtree(out, ignore_errors=True)

    def _commit(self, out: Path, step: int, state: dict[str, Any]) -> None:
        wanted = [rank_file(out, rank).with_suffix(".json") for rank in range(self.world.size)]
        deadline = time.monotonic() + PATIENCE
        while not all(path.exists() for path in wanted):
            if time.monotonic() > (deadline if not self._given_up else min(deadline, self._given_up + GRACE)):
                raise TrainingError(
                    f"not every rank wrote its shards of {out.name}", hint="put the work folder on shared storage"
                )
            time.sleep(0.01)
        write_json(out / "state.json", state)
        self._mark(out, step)
        files = {path.name: sha256_file(path) for path in (*wanted, out / "state.json")}
        files |= {
            path.with_suffix(".safetensors").name: json.loads(path.read_text(encoding="utf-8"))["sha256"]
            for path in wanted
        }
        write_json(out / "manifest.json", files)
        fsync_path(out)
        final = self.root / name_of(step)
        out.rename(final)
        fsync_path(self.root)
        write_atomic(self.root / "latest", final.name + "\n")
        rollback_steps = sorted(number for number in self.marked[ROLLBACK] if number <= step)[-ROLLBACKS_KEPT:]
        # Each checkpoint that the run can roll back to also requires the best checkpoint at that time.
        best = [
            max((number for number in self.marked[BEST] if number <= at), default=step)
            for at in (*rollback_steps, step)
        ]
        kept = {*rollback_steps, *best}
        for old in checkpoints(self.root)[: -self.keep]:
            if step_of(old) not in kept:
                shutil.rmtree(old, ignore_errors=True)

    def _mark(self, path: Path, step: int) -> None:
        for mark, steps in self.marked.items():
            if step in steps:
                (path / mark).touch()

    def drop_after(self, step: int) -> None:
        """Remove the checkpoints after `step`, after a rollback to it."""
        self.wait()
        if self.world.first:
            for path in checkpoints(self.root):
                if step_of(path) > step:
                    shutil.rmtree(path)
        self.marked = {mark: {number for number in steps if number <= step} for mark, steps in self.marked.items()}
        self.written = {number for number in self.written if number <= step}
        self.world.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wait() if error is None else self.give_up()
