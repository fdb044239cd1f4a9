"""File names in a checkpoint folder: `step-00000012/`, its marks, and `latest`."""

from __future__ import annotations

import itertools
from pathlib import Path

# Empty files that mark a checkpoint to be kept in addition to the newest ones: those that a run can roll back to, and
# the one of the lowest validation loss.
ROLLBACK, BEST = "rollback", "best"
MARKS = (ROLLBACK, BEST)


def name_of(step: int) -> str:
    return f"step-{step:08d}"


def step_of(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def checkpoints(root: Path) -> list[Path]:
    """All checkpoints, oldest first."""
    return sorted(path for path in root.glob("step-*") if path.is_dir())


def rank_file(folder: Path, rank: int) -> Path:
    return folder / f"rank-{rank:05d}.safetensors"


def move_aside(path: Path) -> None:
    """Rename a damaged checkpoint, so that it is not used but not deleted either."""
    for number in itertools.count(1):
        aside = path.with_name(f"damaged-{path.name}" + (f"-{number}" if number > 1 else ""))
        if not aside.exists():
            path.rename(aside)
            return
