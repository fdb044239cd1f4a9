"""Checkpoints: written beside the training, in pieces, into a new directory; SHA-256 manifest, fsync, rename, then
`latest`; verified on load, never overwritten."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from tutelage.store.errors import ConfigError, DamagedError, TrainingError
from tutelage.store.events import EventLog
from tutelage.store.files import fsync_path, write_atomic, write_json
from tutelage.store.hashing import sha256_file
from tutelage.training.checkpoint.pieces import Place, own_pieces, read_into
from tutelage.training.distributed.parallel import Layout
from tutelage.training.distributed.world import World

# Files that mark a checkpoint which is kept beside the newest ones: the two last that a run can go back to, and the
# one of the lowest validation loss.
LASTING, BEST = "lasting", "best"
MARKS = (LASTING, BEST)
LASTING_KEPT = 2
PATIENCE = 600.0  # s that the first process waits for the files of the others
GRACE = 2.0  # s, once the run has failed


class CheckpointWriter:
    """Writes `root/step-N` in a thread of its own while training goes on; one at a time.

    What is to be written is copied before `save` returns. An error of the thread is raised by the next `save` or
    `wait`. Each process writes the parts it holds; the first one commits when all files are there. As a context it has
    ended its work when the block ends, however that ends.
    """

    def __init__(self, root: Path, keep: int, world: World, layout: Layout) -> None:
        self.root, self.keep, self.world, self.layout = root, keep, world, layout
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._given_up = 0.0
        self.look()
        if world.first:
            for left in root.glob(".*.tmp"):  # by a kill
                shutil.rmtree(left) if left.is_dir() else left.unlink()

    def look(self) -> None:
        """See what is on disk: at the beginning, and after loading has moved damaged checkpoints aside."""
        self.written = {_step_of(path) for path in _all(self.root)}  # what they hold does not change any more
        self.marked = {mark: {_step_of(path) for path in _all(self.root) if (path / mark).exists()} for mark in MARKS}

    def save(
        self, step: int, model: nn.Module, optimizers: list[torch.optim.Optimizer], state: dict[str, Any],
        more: dict[str, Tensor] | None = None, marks: Collection[str] = (),
    ) -> None:  # fmt: skip
        """Begin to write what is trained, its optimizer state, `more` tensors by name, and `state` (JSON).

        Those with a mark are kept beside the last `keep`.
        `state["fingerprint"]` tells one run from another, the weights that stay frozen included: they are not written.
        """
        self.wait()
        for mark in marks:
            self.marked[mark].add(step)
        if step in self.written:
            if self.world.first:
                self._mark(self.root / _name(step), step)
            return
        self.written.add(step)
        tensors, scalars = named_state(model, optimizers, self.layout.duplicate)
        tensors |= {f"more.{name}": value for name, value in (more or {}).items() if not self.layout.duplicate(name)}
        pieces = own_pieces(tensors, self.layout.mesh)
        shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
        record = json.loads(json.dumps({**state, "step": step}))  # as it is now
        temporary = self.root / f".{_name(step)}.tmp"
        if self.world.first:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        self.world.wait()
        self._thread = threading.Thread(target=self._write, args=(temporary, step, pieces, shapes, scalars, record))
        self._thread.start()

    def give_up(self) -> None:
        """The run has failed: finish what can still be finished, but wait no longer for processes that may be gone."""
        self._given_up = time.monotonic()
        with contextlib.suppress(Exception):  # what failed first is what has to be said
            self.wait()

    def wait(self) -> None:
        """Return when nothing is being written any more. Raises what went wrong in writing."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _write(
        self, out: Path, step: int, pieces: dict[str, tuple[Tensor, list[int]]], shapes: dict[str, list[int]],
        scalars: dict[str, Any], state: dict[str, Any],
    ) -> None:  # fmt: skip
        try:
            file = out / f"rank-{self.world.rank:05d}.safetensors"
            save_file({name: part for name, (part, _) in pieces.items()}, file)
            fsync_path(file)
            places = {
                name: {"offset": offset, "size": list(part.shape), "shape": shapes[name],
                       "dtype": str(part.dtype).removeprefix("torch.")}
                for name, (part, offset) in pieces.items()
            }  # fmt: skip
            # Written last and renamed into place: once it is there, this process's part is whole.
            write_json(file.with_suffix(".json"), {"sha256": sha256_file(file), "pieces": places, "scalars": scalars})
            if self.world.first:
                self._commit(out, step, state)
        except BaseException as error:  # handed to the training thread
            self.written.discard(step)
            self._error = error
            if self.world.first:
                shutil.rmtree(out, ignore_errors=True)

    def _commit(self, out: Path, step: int, state: dict[str, Any]) -> None:
        wanted = [out / f"rank-{rank:05d}.json" for rank in range(self.world.size)]
        deadline = time.monotonic() + PATIENCE
        while not all(path.exists() for path in wanted):
            if time.monotonic() > (deadline if not self._given_up else min(deadline, self._given_up + GRACE)):
                raise TrainingError(
                    f"not every process wrote its part of {out.name}", hint="the work folder must be shared by all"
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
        final = self.root / _name(step)
        out.rename(final)
        fsync_path(self.root)
        write_atomic(self.root / "latest", final.name + "\n")
        lasting = sorted(number for number in self.marked[LASTING] if number <= step)[-LASTING_KEPT:]
        # Of each place that the run may go back to, what was the best there is needed too.
        best = [max((number for number in self.marked[BEST] if number <= at), default=step) for at in (*lasting, step)]
        kept = {*lasting, *best}
        for old in _all(self.root)[: -self.keep]:
            if _step_of(old) not in kept:
                shutil.rmtree(old, ignore_errors=True)

    def _mark(self, path: Path, step: int) -> None:
        for mark, steps in self.marked.items():
            if step in steps:
                (path / mark).touch()

    def drop_after(self, step: int) -> None:
        """Remove the checkpoints after `step`: the run goes back to it and takes another way."""
        self.wait()
        if self.world.first:
            for path in _all(self.root):
                if _step_of(path) > step:
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


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _move_aside(path: Path) -> None:
    for number in itertools.count(1):
        aside = path.with_name(f"damaged-{path.name}" + (f"-{number}" if number > 1 else ""))
        if not aside.exists():
            path.rename(aside)
            return


def _step_of(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _prefixed(more: dict[str, Tensor] | None) -> dict[str, Tensor]:
    return {f"more.{name}": value for name, value in (more or {}).items()}


def named_state(
    model: nn.Module, optimizers: list[torch.optim.Optimizer], left_out: Callable[[str], bool] = lambda name: False
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What is trained and the optimizers' state, under the weights' names, as tensors and JSON scalars: no pickle."""
    tensors = {f"model.{name}": value for name, value in trained_state(model).items() if not left_out(name)}
    scalars: dict[str, Any] = {}
    for name, parameter in model.named_parameters():
        for optimizer in optimizers:
            for key, value in ({} if left_out(name) else optimizer.state.get(parameter, {})).items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{name}.{key}"] = value
                else:
                    scalars[f"{name}.{key}"] = value
    return tensors, scalars


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """The state dict without the parameters that are frozen."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {name: value for name, value in model.state_dict().items() if name not in frozen}


def load_latest(
    root: Path,
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    fingerprint: str,
    log: EventLog,
    world: World | None = None,
    more: dict[str, Tensor] | None = None,
) -> dict[str, Any] | None:
    """Load the newest whole checkpoint into model, optimizers and `more`, in place, and return its state, or None.

    It may have been written by another number of processes. A damaged one is named in a warning and the one before it
    is used; it is moved aside, not removed. Raises ConfigError for a checkpoint of a run with another fingerprint.
    """
    world = world or World()
    damaged = 0
    for path in reversed(_all(root)):
        problem = ""
        try:
            verify(path, world.rank, world.size)
        except DamagedError as error:
            problem = str(error)
        if world.sums([float(bool(problem))])[0] == 0:
            try:
                return _load(path, model, optimizers, fingerprint, _prefixed(more))
            except DamagedError as error:  # all files are as they were written: the same in every process
                problem = str(error)
        damaged += 1
        log.warn(f"{problem or f'checkpoint {path} is damaged'}; going back to the checkpoint before it")
        if world.first:
            _move_aside(path)
        world.wait()
    if damaged:
        log.warn("no whole checkpoint is left: training starts again from its beginning")
    return None


def load_step(
    root: Path, step: int, model: nn.Module, optimizers: list[torch.optim.Optimizer], fingerprint: str,
    more: dict[str, Tensor],
) -> dict[str, Any]:  # fmt: skip
    """Load the checkpoint of that very step. Raises DamagedError if it is not there or not whole."""
    path = root / _name(step)
    verify(path)
    return _load(path, model, optimizers, fingerprint, _prefixed(more))


def verify(path: Path, share: int = 0, shares: int = 1) -> None:
    """Raises DamagedError unless every file (every `shares`-th, from number `share`) has its recorded hash."""
    try:
        files = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError):
        raise DamagedError(f"checkpoint {path} has no readable manifest.json") from None
    for name, expected in sorted(files.items())[share::shares]:
        file = path / name
        if not file.is_file() or sha256_file(file) != expected:
            raise DamagedError(f"checkpoint file {file} does not match its recorded SHA-256")


def _all(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("step-*") if path.is_dir())


def _load(
    path: Path, model: nn.Module, optimizers: list[torch.optim.Optimizer], fingerprint: str, more: dict[str, Tensor]
) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
    if state["fingerprint"] != fingerprint:
        raise ConfigError(
            f"{path.parent} belongs to a run with other data or settings", hint="use another work directory"
        )
    places, scalars = _contents(path)
    targets = {f"model.{name}": value for name, value in trained_state(model).items()} | more
    if not targets.keys() <= places.keys():
        raise DamagedError(f"checkpoint {path} does not hold all weights that are trained")
    try:
        for name, target in targets.items():
            read_into(target, places[name], name)
        _restore(model, optimizers, places, scalars)
    except (SafetensorError, OSError) as error:
        raise DamagedError(f"checkpoint {path} cannot be read: {error}") from None
    return state


def _contents(path: Path) -> tuple[dict[str, list[Place]], dict[str, Any]]:
    """Where the pieces of each tensor lie, and the scalars, of all processes that wrote."""
    places: dict[str, list[Place]] = {}
    scalars: dict[str, Any] = {}
    for file in sorted(path.glob("rank-*.json")):
        record = json.loads(file.read_text(encoding="utf-8"))
        scalars |= record["scalars"]
        for name, at in record["pieces"].items():
            numbers = (tuple(at["offset"]), tuple(at["size"]), tuple(at["shape"]))
            places.setdefault(name, []).append(Place(file.with_suffix(".safetensors"), *numbers, at["dtype"]))
    return places, scalars


def _restore(
    model: nn.Module, optimizers: list[torch.optim.Optimizer], places: dict[str, list[Place]], scalars: dict[str, Any]
) -> None:
    """Fill the optimizers' state; what has the shape of its parameter is spread as that is."""
    keys: dict[str, set[str]] = {}
    for full in [*(name.removeprefix("optimizer.") for name in places if name.startswith("optimizer.")), *scalars]:
        name, key = full.rsplit(".", 1)
        keys.setdefault(name, set()).add(key)
    names = {parameter: name for name, parameter in model.named_parameters()}
    for optimizer in optimizers:
        state: dict[int, dict[str, Any]] = {}
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for number, parameter in enumerate(parameters):
            for key in sorted(keys.get(names[parameter], ())):
                full = f"{names[parameter]}.{key}"
                value = scalars.get(full)
                if (name := f"optimizer.{full}") in places:
                    value = _empty(places[name][0], parameter)
                    read_into(value, places[name], name)
                state.setdefault(number, {})[key] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _empty(place: Place, parameter: Tensor) -> Tensor:
    dtype: torch.dtype = getattr(torch, place.dtype)
    if place.shape and place.shape == tuple(parameter.shape):
        return torch.empty_like(parameter.detach(), dtype=dtype)
    return torch.empty(place.shape, dtype=dtype)
