"""Render chat templates: ours in this process, foreign ones in a subprocess with limited memory and time.

A template is a program that comes with a model. It may loop for ever, recurse or allocate all memory while the model is
loaded or used, so it runs in a sandboxed subprocess.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
from functools import lru_cache
from typing import Any

from tutelage.store.errors import InputError
from tutelage.tokenizer.jinja import render

CHATML = """\
{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
"""Template of every tokenizer trained here."""

# Today's date in a prompt would change its ids from day to day; this is the default date of the Llama 3.1 template.
FIXED_DATE = "2024-07-26"
SECONDS = 5.0  # time limit of a rendering
_HINT = "the template comes with the model; use another copy of the model, or provide your own template"


def render_template(template: str, variables: dict[str, Any], today: str = FIXED_DATE) -> str:
    """The rendered text. Raises InputError if the template is faulty, rejects the messages, or exceeds its limits."""
    if template == CHATML:
        done, text = render(template, variables, today)
    else:
        done, text = _elsewhere(template, json.dumps(variables), today)
    if not done:
        raise InputError(text, hint=_HINT if "more memory" in text or "longer than" in text else None)
    return text


@lru_cache(maxsize=1024)
def _elsewhere(template: str, variables: str, today: str) -> tuple[bool, str]:
    return _WORKER.render(template, variables, today)


class _Worker:
    """The process, started when it is first needed and again after it was killed; one rendering at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._warm: subprocess.Popen[bytes] | None = None

    def render(self, template: str, variables: str, today: str) -> tuple[bool, str]:
        asked = f'{{"template": {json.dumps(template)}, "variables": {variables}, "today": {json.dumps(today)}}}\n'
        with self._lock:
            process = self._running()
            assert process.stdin is not None
            try:
                process.stdin.write(asked.encode("ascii"))
                process.stdin.flush()
                answer = self._answer(process)
            except (BrokenPipeError, EOFError):
                answer = None
            if answer is None:
                slow = process.poll() is None
                self._end(process)
                return False, (
                    f"the chat template takes longer than {SECONDS:g} s"
                    if slow
                    else "the chat template needs more memory than allowed"
                )
        word, text = json.loads(answer)
        return word == "ok", str(text)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None or self._owner != os.getpid():
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tutelage.tokenizer.template_worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            self._owner = os.getpid()  # a forked child must not read its parent's answers
        return self._process

    def _answer(self, process: subprocess.Popen[bytes]) -> bytes | None:
        """One line; None on timeout. Raises EOFError if the process has ended."""
        assert process.stdout is not None
        found = bytearray()
        # Starting Python on a busy machine takes time that is not the template's.
        patience = SECONDS if process is self._warm else SECONDS + 10
        self._warm = process
        while not found.endswith(b"\n"):
            ready, _, _ = select.select([process.stdout], [], [], patience)
            if not ready:
                return None
            part = os.read(process.stdout.fileno(), 1 << 20)
            if not part:
                raise EOFError
            found += part
        return bytes(found)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue
        self._process = None


_WORKER = _Worker()
