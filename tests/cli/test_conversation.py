"""The interactive conversation: commands, memory, and what a model may not do to the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tutelage.cli import conversation
from tutelage.inference.sampling import Sampling
from tutelage.store.errors import InputError
from tutelage.tokenizer.messages import Message


class FakeModel:
    """Answers with the next of its answers; remembers what it was given."""

    def __init__(self, answers: list[Any]) -> None:
        self.model, self.answers, self.given = self, iter(answers), []  # type: ignore[var-annotated]

    def num_parameters(self) -> int:
        return 1234

    def chat_stream(self, messages: list[Message], sampling: Sampling) -> Iterator[str]:
        self.given.append(([message.content for message in messages], sampling.temperature))
        answer = next(self.answers)
        if isinstance(answer, BaseException):
            raise answer
        yield from answer


def talk(monkeypatch: pytest.MonkeyPatch, lines: list[Any], answers: list[Any]) -> FakeModel:
    left = iter(lines)

    def read(*_: Any, **__: Any) -> str:
        line = next(left, EOFError())
        if isinstance(line, BaseException):
            raise line
        return str(line)

    monkeypatch.setattr(conversation.Console, "input", read)
    lm = FakeModel(answers)
    conversation.converse(lm, Sampling(), [Message("system", "be brief")])
    return lm


def test_the_conversation_is_remembered_until_reset(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["one", "", "two", "/reset", "/temperature 0.5", "three", "/exit", "never"]
    lm = talk(monkeypatch, lines, [["a", "b"], ["c"], ["d"]])
    assert lm.given == [
        (["be brief", "one"], 0.0),
        (["be brief", "one", "ab", "two"], 0.0),
        (["be brief", "three"], 0.5),
    ]
    assert "ab" in capsys.readouterr().out


def test_wrong_commands_are_explained(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lm = talk(monkeypatch, ["/temperature hot", "/temperature -1", "/what", "/help"], [])
    shown = capsys.readouterr().out
    assert lm.given == [] and shown.count("give a number") == 2 and shown.count("forgets the conversation") == 3


def test_a_stopped_answer_is_kept_and_a_full_context_starts_anew_with_the_system_prompt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped() -> Iterator[str]:
        yield "half"
        raise KeyboardInterrupt

    lm = talk(monkeypatch, ["one", "two", "three"], [stopped(), InputError("too long"), ["c"]])
    assert [given for given, _ in lm.given] == [
        ["be brief", "one"],
        ["be brief", "one", "half", "two"],
        ["be brief", "three"],
    ]
    shown = capsys.readouterr().out
    assert "(stopped)" in shown and "too long" in shown


def test_what_the_model_says_is_shown_to_the_letter_but_commands_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    talk(monkeypatch, ["one"], [["[bold]x[/] :smile: \\", "\x1b]0;owned\x07\x9b2J\nend"]])
    shown = capsys.readouterr().out
    assert "[bold]x[/] :smile: \\]0;owned2J\nend" in shown and "\x1b]" not in shown
