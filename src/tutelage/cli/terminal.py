"""The terminal side of a conversation: reading input, and showing text that must not control the terminal."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Callable

from rich.console import Console

Read = Callable[[], str]


def interactive() -> bool:
    """Whether input and output are a terminal: only then are lines edited, and only then does Ctrl-C at the prompt not
    quit."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def reader(console: Console) -> Read:
    """The reader of one question. In a terminal: with arrows, history, and a paste of several lines as one question;
    else a line of standard input. Raises EOFError at the end, KeyboardInterrupt at Ctrl-C."""
    if interactive():
        return _edited()
    return lambda: console.input("[bold cyan]you[/] › ")


def _edited() -> Read:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.formatted_text import FormattedText
    from prompt_toolkit.history import InMemoryHistory
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    keys = KeyBindings()

    @keys.add("enter")
    def _send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    # A paste is not a key: its line ends stay. Ctrl-J is Enter typed ahead, while an answer was being generated.
    @keys.add("escape", "enter")
    def _new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    session: PromptSession[str] = PromptSession(history=InMemoryHistory(), key_bindings=keys, multiline=True)
    prompt = FormattedText([("bold ansicyan", "you"), ("", " › ")])
    return lambda: session.prompt(prompt, prompt_continuation=" " * 6)


def harmless(text: str) -> str:
    """Without control characters: a model's text must not control the terminal."""
    return "".join(letter for letter in text if letter in "\n\t" or unicodedata.category(letter) != "Cc")
