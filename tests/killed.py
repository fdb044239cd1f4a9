"""A process that dies in the middle of its work on a directory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any


def in_killed_process(moment: int, work: Callable[[], object]) -> int:
    """Run `work` in a child that dies before its change number `moment` of any directory; its exit status."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    changes = 0

    def dying(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*given: Any, **named: Any) -> Any:
            nonlocal changes
            changes += 1
            if changes > moment:
                os._exit(9)
            return change(*given, **named)

        return changed

    for name in ("replace", "rename", "unlink", "mkdir"):
        setattr(Path, name, dying(getattr(Path, name)))
    shutil.rmtree = dying(shutil.rmtree)  # type: ignore[assignment]
    try:
        work()
    except BaseException:
        os._exit(8)
    os._exit(0)
