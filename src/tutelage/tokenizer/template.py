"""Rendering a chat template: ours at once, anybody else's in a process with bounded memory and time.

A template is a program that comes with a model. It can loop for ever, recurse, or ask for all the memory there is,
while a model is loaded or chatted with; so it runs where that harms nobody.
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

# A date in a prompt would give other ids tomorrow; this is the one that the Llama 3.1 template falls back to.
FIXED_DATE = "2024-07-26"
SECONDS = 5.0  # that a rendering may take
_HINT = "the template comes with the model; take the model from another source, or give a template of your own"


def render_template(template: str, variables: dict[str, Any], today: str = FIXED_DATE) -> str:
    """The text of a template. Raises InputError where it is faulty, refuses the messages, or takes too much."""
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
                    else "the chat template asks for more memory than it may have"
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
        """One line; None if it does not come in time. Raises EOFError if the process is gone."""
        assert process.stdout is not None
        found = bytearray()
        # Starting Python on a busy machine takes its time too, and is not the template's fault.
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
