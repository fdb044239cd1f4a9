"""The interactive conversation of `tutelage chat`."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.markup import escape

from tutelage.inference.sampling import Sampling
from tutelage.store.errors import ConfigError, InputError
from tutelage.tokenizer.messages import Message

HELP = "/reset forgets the conversation · /temperature X · /exit ends (or Ctrl-D) · Ctrl-C stops an answer"


def converse(lm: Any, sampling: Sampling, opening: list[Message]) -> None:
    """Read lines, stream answers, until end of input."""
    console = Console()
    console.print(f"[dim]{lm.model.num_parameters():,} parameters · {HELP}[/]", highlight=False)
    messages = list(opening)
    while True:
        try:
            line = console.input("[bold cyan]you[/] › ").strip()
        except (EOFError, KeyboardInterrupt):
            console.print()
            return
        if not line:
            continue
        if line.startswith("/"):
            command, _, value = line[1:].partition(" ")
            if command in ("exit", "quit"):
                return
            if command == "reset":
                messages = list(opening)
            elif command == "temperature":
                try:
                    sampling = replace(sampling, temperature=float(value))
                except (ValueError, ConfigError):
                    console.print("[yellow]give a number, e.g. /temperature 0.7[/]")
            else:
                console.print(f"[dim]{HELP}[/]", highlight=False)
            continue
        turn = _answer(console, lm, sampling, [*messages, Message("user", line)])
        messages = [*messages, *turn] if turn else list(opening)


def _answer(console: Console, lm: Any, sampling: Sampling, messages: list[Message]) -> list[Message]:
    """Stream the answer to the last message; both as the turn to remember, or nothing if there was no room for them."""
    console.print("[bold green]model[/] › ", end="")
    text = ""
    try:
        for piece in lm.chat_stream(messages, sampling):
            text += piece
            console.out(harmless(piece), end="", highlight=False)
        console.print()
    except KeyboardInterrupt:
        console.print(" [dim](stopped)[/]")
    except InputError as error:
        console.print(f"[yellow]{escape(str(error))}[/] · the conversation starts anew")
        return []
    return [messages[-1], Message("assistant", text)]


def harmless(text: str) -> str:
    """Without control characters: what a model says must not command the terminal."""
    return "".join(letter for letter in text if letter in "\n\t" or unicodedata.category(letter) != "Cc")
