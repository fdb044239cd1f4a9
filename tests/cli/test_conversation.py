"""The interactive conversation: commands, memory, and what a model may not do to the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tutelage.cli.conversation import COMMANDS, converse
from tutelage.inference.pieces import Piece
from tutelage.inference.sampling import Sampling
from tutelage.tokenizer.messages import Message

STOP = 0


class FakeModel:
    """Answers with the next of its answers, a letter a token; a token of the prompt is a letter too."""

    stop_ids = (STOP,)

    def __init__(self, answers: Sequence[Any], context: int = 1000) -> None:
        self.model, self.tokenizer, self.context = self, self, context
        self.answers, self.given = iter(answers), list[Any]()

    def num_parameters(self) -> int:
        return 1234

    def decode(self, ids: list[int]) -> str:
        return "".join(map(chr, ids))

    def token_bytes(self, index: int) -> bytes:
        return chr(index).encode()

    def chat_ids(self, messages: list[Message]) -> list[int]:
        self.asked = [message.content for message in messages]
        return [ord(letter) for message in messages for letter in message.content]

    speculation = None

    def engine(self) -> None:
        return None

    def stream(self, prompts: list[list[int]], sampling: Sampling, engine: None = None) -> Iterator[Piece]:
        self.given.append((self.asked, sampling))
        self.prompt = self.decode(prompts[0])
        room = min(sampling.max_tokens, self.context - len(prompts[0]))
        for number, letter in enumerate(next(self.answers), 1):
            if isinstance(letter, BaseException):
                raise letter
            yield Piece(0, letter, ord(letter), -1.0, "length" if number == room else None, True)
            if number == room:
                return
        yield Piece(0, "", STOP, -1.0, "stop", True)


def talk(lines: Sequence[Any], answers: Sequence[Any] = (), context: int = 1000, **sampling: Any) -> FakeModel:
    left = iter(lines)

    def read() -> str:
        line = next(left, EOFError())
        if isinstance(line, BaseException):
            raise line
        return str(line)

    lm = FakeModel(answers, context)
    converse(lm, Sampling(**{"max_tokens": 500, **sampling}), [Message("system", "be brief")], read)
    return lm


Capture = pytest.CaptureFixture[str]


def test_the_conversation_is_remembered_until_reset(capsys: Capture) -> None:
    lines = ["one", "", "two", "/reset", "/temperature 0.5", "three", "/exit", "never"]
    lm = talk(lines, ["ab", "c", "d"])
    assert [(asked, sampling.temperature) for asked, sampling in lm.given] == [
        (["be brief", "one"], 0.0),
        (["be brief", "one", "ab", "two"], 0.0),
        (["be brief", "three"], 0.5),
    ]
    assert "ab" in capsys.readouterr().out


def test_after_each_answer_stand_its_figures(capsys: Capture) -> None:
    talk(["one"], ["abc"], context=200)
    shown = " ".join(capsys.readouterr().out.split())
    assert "4 tokens · " in shown and "tokens/s · ended by itself · context 14 of 200 (7%)" in shown


def test_an_answer_that_is_cut_says_so_and_goes_on(capsys: Capture) -> None:
    lm = talk(["one", "/continue", "two"], ["abcdef", "def", "g"], max_tokens=3)
    assert lm.given[1][0] == ["be brief", "one"]
    assert lm.given[2][0] == ["be brief", "one", "abcdef", "two"]
    shown = " ".join(capsys.readouterr().out.split())
    assert "cut at 3 tokens: /continue resumes" in shown and "--max-tokens" in shown


def test_what_is_continued_is_read_again_to_the_letter() -> None:
    lm = talk(["one", "/continue"], ["abcdef", "de"], max_tokens=3)
    assert lm.prompt == "be briefoneabc"


def test_a_stopped_answer_is_kept_and_goes_on(capsys: Capture) -> None:
    lm = talk(["one", "/continue", "two"], [["h", "a", KeyboardInterrupt()], "lf", "c"])
    assert lm.given[2][0] == ["be brief", "one", "half", "two"]
    assert "stopped by you" in capsys.readouterr().out


def test_a_question_without_a_word_of_an_answer_is_left_out_of_the_next(capsys: Capture) -> None:
    lm = talk(["one", "two", "three"], ["a", [KeyboardInterrupt()], "c"])
    assert lm.given[2][0] == ["be brief", "one", "a", "three"]
    assert "has no answer and is left out" in " ".join(capsys.readouterr().out.split())
    for command in ("/continue", "/retry"):
        lm = talk(["one", command, "two"], [[KeyboardInterrupt()], "b", "c"])
        assert lm.given[2][0] == ["be brief", "one", "b", "two"]


def test_there_must_be_something_to_continue(capsys: Capture) -> None:
    lm = talk(["/continue", "one", "/continue"], ["a"])
    assert len(lm.given) == 1 and capsys.readouterr().out.count("no truncated or stopped answer") == 2


def test_a_full_context_loses_neither_question_nor_history(capsys: Capture) -> None:
    lm = talk(["one", "long " * 10, "/undo", "/retry"], ["abc", "d"], context=60)
    assert lm.given[-1][0] == ["be brief", ("long " * 10).strip()]
    shown = " ".join(capsys.readouterr().out.split())
    assert "has 63 tokens" in shown and "reads 60" in shown and "/undo" in shown and "/reset" in shown
    assert "taken back: 'one'; 0 exchanges are left" in shown


def test_an_answer_that_fills_the_context_says_so(capsys: Capture) -> None:
    lm = talk(["one", "/continue"], ["x" * 50], context=20)
    assert len(lm.given) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "the context is full: /undo or /reset" in shown and "context 20 of 20 (100%)" in shown
    assert "the context is full (20 of 20 tokens)" in shown


def test_ctrl_c_at_the_prompt_loses_nothing(capsys: Capture) -> None:
    lm = talk(["one", KeyboardInterrupt(), "two"], ["a", "b"])
    assert lm.given[1][0] == ["be brief", "one", "a", "two"]
    assert "still there" in capsys.readouterr().out


def test_retry_asks_again_with_another_seed() -> None:
    lm = talk(["one", "/retry", "/retry"], ["a", "b", "c"], temperature=1.0, seed=7)
    assert [asked for asked, _ in lm.given] == [["be brief", "one"]] * 3
    assert [sampling.seed for _, sampling in lm.given] == [7, 8, 9]


def test_a_system_prompt_is_set_shown_and_removed(capsys: Capture) -> None:
    lm = talk(["/system rhyme", "/system", "one", "/system -", "/reset", "two"], ["a", "b"])
    assert [asked for asked, _ in lm.given] == [["rhyme", "one"], ["two"]]
    assert "system prompt: rhyme" in capsys.readouterr().out


def test_every_sampling_value_is_set_by_name(capsys: Capture) -> None:
    lines = ["/set top_p 0.5", '/set stop ["a", "b"]', "/set max_tokens 9", "/set seed 3", "one", "/set"]
    (given,) = talk(lines, ["x"]).given
    sampling = given[1]
    assert (sampling.top_p, sampling.stop, sampling.max_tokens, sampling.seed) == (0.5, ("a", "b"), 9, 3)
    shown = capsys.readouterr().out
    assert all(name in shown for name in vars(Sampling()))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/temperature hot", "must be a number"), ("/temperature -1", "0 (greedy) or above"),
        ("/what", "there is no /what"), ("/set top_q 1", "'top_p'"), ("/set top_p", "a value of top_p is wanted"),
        ("/set top_p 3", "above 0 and at most 1"),
        ("/save x.txt", "ending"), ("/load none.json", "cannot be read"), ("/load x.md", "Markdown is for reading"),
        ("/temperature", "expected a number"), ("/undo", "nothing to take back"), ("/retry", "no question"),
        ("/load", "cannot be read"), ("/save no/such/place.json", "cannot be written"),
    ],
)  # fmt: skip
def test_wrong_commands_are_explained(
    line: str, said: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert talk([line]).given == []
    assert said in " ".join(capsys.readouterr().out.split())


def test_help_names_every_command(capsys: Capture) -> None:
    talk(["/help"])
    shown = capsys.readouterr().out
    assert all(f"/{usage}" in shown for usage in COMMANDS)


def test_a_conversation_is_saved_and_gone_on_with(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    talk(["one", "/save a.json", "two", "/save a.json", "/save a.md"], ["x", "y"])
    messages = json.loads(Path("a.json").read_text())["messages"]
    assert [one["content"] for one in messages] == ["be brief", "one", "x", "two", "y"]
    assert "## user\n\none\n\n## assistant\n\nx" in Path("a.md").read_text()
    lm = talk(["/set top_p 0.5", '/set stop ["q"]', "/save b.json"])
    assert "holds no" not in capsys.readouterr().out
    lm = talk(["one", "/set top_p 0.5", '/set stop ["q"]', "/save c.json"], ["x"])
    lm = talk(["/load c.json", "two"], ["y"])
    assert (lm.given[0][1].top_p, lm.given[0][1].stop) == (0.5, ("q",))
    lm = talk(["/load a.json", "three", "/save a.json"], ["z"])
    assert lm.given[0][0] == ["be brief", "one", "x", "two", "y", "three"]
    assert "is there already" in capsys.readouterr().out  # another conversation's file is not written over
    assert len(json.loads(Path("a.json").read_text())["messages"]) == 5


def test_what_the_model_says_is_shown_to_the_letter_but_commands_no_terminal(capsys: Capture) -> None:
    talk(["one"], ["[bold]x[/] :smile: \\" + "\x1b]0;owned\x07\x9b2J\nend"])
    shown = capsys.readouterr().out
    assert "[bold]x[/] :smile: \\]0;owned2J\nend" in shown and "\x1b]" not in shown
