"""The process group of a run: this process's rank and a few collectives, which are no-ops in a single process."""

from __future__ import annotations

import contextlib
import datetime
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from tutelage.store.errors import ConfigError, TrainingError

# A dead rank breaks its connections and is noticed immediately; this timeout is for one that hangs.
PATIENCE = datetime.timedelta(minutes=10)
# How long the other ranks wait while rank 0 runs a single-process stage: a corpus, an evaluation.
LONG = datetime.timedelta(days=30)


@dataclass(frozen=True)
class World:
    """This process's rank and the world size; `orders` is the process group for rank 0's commands."""

    rank: int = 0
    size: int = 1
    local_size: int = 1  # processes on this machine
    orders: Any = None

    @property
    def first(self) -> bool:
        return self.rank == 0

    def sums(self, values: list[float]) -> list[float]:
        """All-reduce sum of each value in float64."""
        if self.size == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64, device=communication_device())
        with lost_rank_errors(self):
            dist.all_reduce(total)
        return [float(value) for value in total.tolist()]

    def wait(self) -> None:
        """Barrier: wait for every rank."""
        self.sums([0.0])

    def order(self, command: Any = None) -> Any:
        """Broadcast rank 0's plain-data command; the other ranks wait with the long timeout."""
        if self.size == 1:
            return command
        box = [command]
        with lost_rank_errors(self):
            dist.broadcast_object_list(box, src=0, group=self.orders)
        return box[0]


@contextlib.contextmanager
def lost_rank_errors(world: World) -> Iterator[None]:
    """Context that turns the error of a collective with a dead rank into one clear message."""
    try:
        yield
    except RuntimeError as error:
        signs = ("Connection", "connection", "Broken pipe", "Timed out", "timed out", "NCCL")
        if world.size > 1 and any(sign in str(error) for sign in signs):
            raise lost(error) from None
        raise


def lost(error: RuntimeError) -> TrainingError:
    """The error for a rank that does not respond."""
    first_line = str(error).strip().splitlines()[0][:160]
    return TrainingError(
        f"another process of this run has exited or does not respond: {first_line}",
        hint="check its output; run the same command again to resume from the last checkpoint",
    )


def communication_device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


_world: World | None = None


def current_world() -> World:
    """The process group that this process joined, or a world of size 1."""
    return _world or World()


def join_world() -> World:
    """Join the process group started by `torchrun` or `tutelage run --nproc`; no-op in a single process.

    Reads RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT as torchrun sets them. The backend
    is nccl on GPUs, else gloo. Raises ConfigError for a machine with fewer GPUs than processes.
    """
    global _world
    _end_with_the_launcher()
    if _world is not None or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return current_world()
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    local, local_size = int(os.environ.get("LOCAL_RANK", rank)), int(os.environ.get("LOCAL_WORLD_SIZE", size))
    backend = "gloo"
    if torch.cuda.is_available():
        if torch.cuda.device_count() < local_size:
            raise ConfigError(
                f"{local_size} processes on this machine but {torch.cuda.device_count()} GPUs", hint="lower --nproc"
            )
        torch.cuda.set_device(local)
        backend = "nccl"
    try:
        dist.init_process_group(backend, rank=rank, world_size=size, timeout=PATIENCE)
        orders = dist.new_group(backend="gloo", timeout=LONG)
    except (RuntimeError, ValueError) as error:
        raise lost(RuntimeError(str(error))) from None
    _world = World(rank, size, local_size, orders)
    return _world


def _end_with_the_launcher() -> None:
    """Exit this process when its parent exits, which closes the pipe between them."""
    if "TUTELAGE_LIFE" not in os.environ:
        return
    life = int(os.environ.pop("TUTELAGE_LIFE"))

    def watch() -> None:
        os.read(life, 1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def leave_world() -> None:
    """Destroy the group after a barrier: destroying it while another rank still receives would abort that rank."""
    global _world
    if _world is not None:
        with contextlib.suppress(RuntimeError):  # another rank has exited: nothing to wait for
            dist.barrier()
        dist.destroy_process_group()
        _world = None
