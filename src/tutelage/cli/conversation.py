"""The interactive conversation of `tutelage chat`: the messages, the commands, and how an answer is shown."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from rich.console import Console
from rich.markup import escape

from tutelage.cli import transcript
from tutelage.cli.terminal import Read, harmless, interactive, reader
from tutelage.inference.sampling import Sampling
from tutelage.inference.text import TextStream
from tutelage.store.errors import InputError, TutelageError, nearest
from tutelage.tokenizer.messages import Message

COMMANDS = {
    "help": "show this",
    "continue": "continue an answer that was cut off or stopped",
    "retry": "answer the last question again, with another seed",
    "undo": "take back the last question and its answer",
    "reset": "forget the conversation; the system prompt stays",
    "system TEXT": "set the system prompt; `-` removes it, without TEXT it is shown",
    "temperature X": "0 is greedy; the same as /set temperature X",
    "set NAME VALUE": "set any sampling value, e.g. /set top_p 0.9; without one they are shown",
    "save FILE": "write the conversation to a new file.json or file.md",
    "load FILE": "resume a conversation saved as JSON, with its sampling settings",
    "exit": "quit; so does Ctrl-D",
}
KEYS = "Ctrl-C stops an answer · Alt+Enter breaks the line"


def converse(lm: Any, sampling: Sampling, opening: list[Message], read: Read | None = None) -> None:
    """Read questions and commands, stream answers, until the end of the input."""
    console = Console()
    console.print(f"[dim]{lm.model.num_parameters():,} parameters · /help · {KEYS}[/]", highlight=False)
    goes_on = read is not None or interactive()
    read, talk = read or reader(console), Conversation(lm, sampling, opening, console)
    while True:
        try:
            line = read().strip()
        except EOFError:
            console.print()
            return
        except KeyboardInterrupt:
            if not goes_on:
                raise
            talk.note("/exit or Ctrl-D quits; the conversation is still there")
            continue
        if line in ("/exit", "/quit"):
            return
        if line.startswith("/"):
            talk.command(line[1:])
        elif line:
            talk.ask(line)


@dataclass
class Conversation:
    """The messages so far, and how the conversation continues. Only a command ever drops a message."""

    lm: Any
    sampling: Sampling
    opening: list[Message]
    console: Console
    messages: list[Message] = field(init=False)
    _kept: str | None = None  # a question that could not be answered, for /retry
    _ids: list[int] = field(default_factory=list)  # of the last answer, for /continue
    _reason: str | None = None
    _tries: int = 0
    _saved: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.messages = list(self.opening)
        self._engine = self.lm.engine()  # the messages so far need not be read again

    # -- answers

    def ask(self, question: str, seed: int = 0) -> None:
        """Answer, and keep both. A question that does not fit changes nothing and is kept for /retry."""
        unanswered = self._reason in ("stopped", "failed") and not self.messages[-1].content
        asked = [*(self.messages[:-2] if unanswered else self.messages), Message("user", question)]
        try:
            prompt = self.lm.chat_ids(asked)
        except InputError as error:
            self._kept = question
            self.warn(str(error))
            return
        if len(prompt) >= self.lm.context:
            self._kept = question
            self.warn(
                f"the context is full: with this question the conversation has {len(prompt)} tokens, the model reads "
                f"{self.lm.context} with the answer. Nothing was forgotten: /undo takes the last exchange back, /reset "
                "all of them; /retry then asks this again"
            )
            return
        if unanswered:  # an answer without a word would be read as one from then on
            self.note("the question before has no answer and is left out")
        self._kept, self._ids, self._reason, self._tries = None, [], None, seed
        self.console.print("[bold green]model[/] › ", end="")
        text = self._stream(prompt, replace(self.sampling, seed=self.sampling.seed + seed))
        self.messages = [*asked, Message("assistant", text)]

    def _stream(self, prompt: Sequence[int], sampling: Sampling) -> str:
        """Show the answer as it is generated, after the part in `_ids`; return the whole answer."""
        stream = TextStream(self.lm.tokenizer.decode, self.lm.tokenizer.token_bytes, sampling.stop)
        pieces = [stream.feed(one) for one in self._ids]
        tokens, begin, first = 0, time.monotonic(), 0.0
        before = self._drafts()
        self._reason = "stopped"
        try:
            with closing(self.lm.stream([[*prompt, *self._ids]], sampling, self._engine)) as made:
                for piece in made:
                    tokens += 1
                    first = first or time.monotonic()
                    if piece.id not in self.lm.stop_ids:
                        self._ids.append(piece.id)
                        pieces.append(stream.feed(piece.id))
                        self._show(pieces[-1])
                    if piece.stop_reason is not None:
                        self._reason = piece.stop_reason
        except KeyboardInterrupt:
            pass
        except TutelageError as error:
            self._reason = "failed"
            self.warn(str(error))
        pieces.append(stream.close(cut=self._reason != "stop"))
        self._show(pieces[-1])
        self.console.print()
        used, end = len(prompt) + len(self._ids), time.monotonic()
        rate = (tokens - 1) / (end - first) if tokens > 1 and end > first else tokens / max(end - begin, 1e-9)
        drafted, accepted = (now - then for now, then in zip(self._drafts(), before, strict=True))
        drafts = f"{accepted} of {drafted} drafts right · " if drafted else ""
        self.note(
            f"{tokens} tokens · {rate:.1f} tokens/s · {drafts}{self._why(used)} · context {used} of {self.lm.context} "
            f"({used / self.lm.context:.0%})"
        )
        return "".join(pieces)

    def _drafts(self) -> tuple[int, int]:
        """Drafted tokens so far, and how many were accepted."""
        found = self.lm.speculation
        return (0, 0) if found is None else (found.drafted, found.accepted)

    def _why(self, used: int) -> str:
        if self._reason == "length" and used >= self.lm.context:
            return "cut off, the context is full: /undo or /reset makes room"
        most = self.sampling.max_tokens
        cut = f"cut at {most} tokens: /continue resumes, /set max_tokens N or --max-tokens N allows more"
        stopped = "stopped by you: /continue resumes"
        return {"length": cut, "stopped": stopped, "stop": "ended by itself"}.get(self._reason or "", "failed")

    def _show(self, text: str) -> None:
        self.console.out(harmless(text), end="", highlight=False)

    # -- commands

    def command(self, line: str) -> None:
        name, _, value = line.partition(" ")
        known = {usage.split()[0] for usage in COMMANDS}
        if name not in known:
            self.warn(f"there is no /{name}: {nearest(name, known)}; /help shows all")
            return
        try:
            getattr(self, f"_{name}")(value.strip())
        except TutelageError as error:
            self.warn(f"{error.message}{f': {error.hint}' if error.hint else ''}")

    def _help(self, _: str) -> None:
        for usage, text in COMMANDS.items():
            self.note(f"/{usage:<16} {text}")
        self.note(KEYS)

    def _exit(self, _: str) -> None:
        self.note("/exit takes no argument")

    def _reset(self, _: str) -> None:
        self.messages, self._ids, self._reason = list(self.opening), [], None
        self.note("the conversation is cleared")

    def _undo(self, _: str) -> None:
        if self._last_exchange() is None:
            self.note("there is nothing to take back")
            return
        question = self.messages[-2].content
        self.messages, self._ids, self._reason = self.messages[:-2], [], None
        shown = question if len(question) <= 60 else question[:60] + " …"
        self.note(f"taken back: {shown!r}; {sum(one.role == 'user' for one in self.messages)} exchanges are left")

    def _retry(self, _: str) -> None:
        if self._kept is not None:
            self.ask(self._kept)
            return
        question = self._last_exchange()
        if question is None:
            self.note("no question to answer again")
            return
        if self.sampling.temperature == 0:
            self.note("greedy gives the same answer again; /temperature 0.7 gives others")
        self.messages = self.messages[:-2]
        self.ask(question, self._tries + 1)

    def _continue(self, _: str) -> None:
        question = self._last_exchange()
        if question is None or self._reason not in ("length", "stopped"):
            self.note("no truncated or stopped answer")
            return
        prompt = self.lm.chat_ids(self.messages[:-1])
        if (used := len(prompt) + len(self._ids)) >= self.lm.context:
            self.warn(f"the context is full ({used} of {self.lm.context} tokens): /undo or /reset makes room")
            return
        self.console.print("[bold green]model[/] › … ", end="")
        text = self._stream(prompt, replace(self.sampling, seed=self.sampling.seed + self._tries))
        self.messages = [*self.messages[:-1], Message("assistant", text)]

    def _last_exchange(self) -> str | None:
        if len(self.messages) < 2 or [one.role for one in self.messages[-2:]] != ["user", "assistant"]:
            return None
        return self.messages[-2].content

    def _system(self, text: str) -> None:
        if not text:
            said = next((one.content for one in self.messages if one.role == "system"), None)
            self.note("no system prompt" if said is None else f"system prompt: {said}")
            return
        self.opening = [] if text == "-" else [Message("system", text)]
        self.messages = [*self.opening, *(one for one in self.messages if one.role != "system")]
        self.note("the system prompt is set" if self.opening else "the system prompt is removed")

    def _temperature(self, value: str) -> None:
        if not value:
            raise InputError("expected a number", hint="e.g. /temperature 0.7")
        self._set(f"temperature {value}")

    def _set(self, line: str) -> None:
        if not line:
            for name, value in vars(self.sampling).items():
                self.note(f"{name:<20} {value!r}")
            return
        name, _, value = line.partition(" ")
        self.sampling = transcript.with_value(self.sampling, name, value.strip())
        self.note(f"{name} is {getattr(self.sampling, name)!r}")

    def _save(self, file: str) -> None:
        transcript.save(file, self.messages, self.sampling, self._saved)
        self._saved.add(file)
        self.note(f"saved to {file}")

    def _load(self, file: str) -> None:
        self.messages, self.sampling = transcript.load(file, self.sampling)
        self.opening = [one for one in self.messages[:1] if one.role == "system"]
        self._ids, self._reason, self._kept = [], None, None
        last = self.messages[-1].content[:60]
        self.note(f"{len(self.messages)} messages, and how they were sampled; the last: {last!r}")

    # -- words

    def note(self, text: str) -> None:
        self.console.print(f"[dim]{escape(harmless(text))}[/]", highlight=False)

    def warn(self, text: str) -> None:
        self.console.print(f"[yellow]{escape(harmless(text))}[/]", highlight=False)
