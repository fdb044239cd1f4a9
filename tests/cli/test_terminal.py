"""The conversation in a real terminal: editing, history, pasting, Ctrl-C."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAM = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # who is started in the background ignores it
sys.path.insert(0, sys.argv[1])
from test_conversation import FakeModel
from tutelage.cli.conversation import converse
from tutelage.inference.sampling import Sampling

class Echo(FakeModel):
    def stream(self, prompts, sampling, engine=None):
        self.answers = iter(["slow " * 200 if self.asked[-1] == "slow" else "heard " + repr(self.asked)])
        for piece in super().stream(prompts, sampling):
            yield piece
            time.sleep(0.02 if self.asked[-1] == "slow" else 0)

converse(Echo([], 4000), Sampling(max_tokens=4000), [])
print("ended well")
"""


class Terminal:
    """A program in a terminal of its own: keys go in, what is shown comes out."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        command = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent)]
        environment = {**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "COLUMNS": "200", "LINES": "40"}
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)
        self.shown = ""

    def wait(self, pattern: str, seconds: float = 20.0) -> None:
        """Until what has come since the last wait matches."""
        end = time.monotonic() + seconds
        while (found := re.search(pattern, _plain(self.shown), re.DOTALL)) is None:
            assert time.monotonic() < end, f"{pattern!r} is not in {_plain(self.shown)!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self.master, 65536).decode(errors="replace")
                except OSError:  # the program has ended
                    assert re.search(pattern, _plain(self.shown), re.DOTALL)
        self.shown = _plain(self.shown)[found.end() :]

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def interrupt(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\r", "", text)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    try:
        made.wait("1,234 parameters")
        made.wait("you ›")
        yield made
    finally:
        made.process.kill()
        made.process.wait()
        os.close(made.master)


def test_arrows_edit_the_line_and_bring_back_the_last_one(terminal: Terminal) -> None:
    terminal.type("ac\x1b[Db\r")  # left, then b between the two
    terminal.wait(r"heard \['abc'\]")
    terminal.wait("you ›")
    terminal.type("\x1b[A\x7fd\r")  # up, and another end
    terminal.wait(r"'abd'\]")


def test_several_pasted_lines_are_one_question(terminal: Terminal) -> None:
    terminal.type("\x1b[200~def f():\r\n    return 1\n\x1b[201~why?\r")
    terminal.wait(r"heard \['def f\(\):\\n    return 1\\nwhy\?'\]")


def test_alt_enter_breaks_the_line(terminal: Terminal) -> None:
    terminal.type("one\x1b\rtwo\r")
    terminal.wait(r"heard \['one\\ntwo'\]")


def test_ctrl_c_stops_an_answer_and_at_the_prompt_loses_nothing(terminal: Terminal) -> None:
    terminal.type("slow\r")
    terminal.wait("slow slow slow ")
    terminal.interrupt()
    terminal.wait("stopped by you")
    terminal.wait("you ›")
    terminal.type("half a question\x03")
    terminal.wait("still there")
    terminal.type("more\r")
    terminal.wait(r"heard \['slow', 'slow slow .*', 'more'\]")
    terminal.wait("you ›")
    terminal.type("\x04")
    terminal.wait("ended well")
    assert terminal.process.wait(10) == 0


def test_where_nobody_sits_ctrl_c_ends() -> None:
    command = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) != 0
