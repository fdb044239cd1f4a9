"""The pool of processes: a signal to the whole group is the parent's to answer, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from tutelage.corpus.parallel import ordered_map, pool

SCRIPT = """
import signal, sys, time
from tutelage.corpus.parallel import ordered_map, pool
def stop(number, frame): raise KeyboardInterrupt
signal.signal(signal.SIGTERM, stop)
try:
    with pool(2) as workers:
        for _ in ordered_map(workers, time.sleep, [0.05] * 2000):
            print("read", flush=True)
except KeyboardInterrupt:
    sys.exit(143)
"""


def of_worker(_: int) -> tuple[int, bool]:
    time.sleep(0.05)
    return os.getpgrp(), signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_workers_stand_in_groups_of_their_own():
    old = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        with pool(2) as workers:
            found = set(ordered_map(workers, of_worker, range(8)))
    finally:
        signal.signal(signal.SIGTERM, old)
    assert all(group != os.getpgrp() and by_default for group, by_default in found)


def test_sigterm_to_the_group_ends_the_parent_in_order():
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "read\n"
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (143, "")
