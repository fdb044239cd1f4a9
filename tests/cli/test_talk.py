"""`tutelage chat --message`: one question; an answer that was cut says so, and where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tutelage.cli.main import main
from tutelage.inference.language_model import LanguageModel
from tutelage.inference.sampling import Sampling

Capture = pytest.CaptureFixture[str]


def say(capsys: Capture, place: Path, *options: str) -> tuple[str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["chat", str(place), "--message", "why?", *options])
    assert ended.value.code == 0
    made = capsys.readouterr()
    return made.out, made.err


def test_an_answer_fills_the_context_unless_it_is_limited(lm: LanguageModel, tmp_path: Path, capsys: Capture) -> None:
    lm.save(tmp_path)
    prompt = len(lm.chat_ids([{"role": "user", "content": "why?"}]))
    _, said = say(capsys, tmp_path)
    assert f"cut off after {lm.context - prompt} tokens: the context of the model is full" in said
    out, said = say(capsys, tmp_path, "--max-tokens", "3")
    expected = lm.chat([{"role": "user", "content": "why?"}], Sampling(max_tokens=3)).text
    assert out == f"{expected}\n" and "cut off after 3 tokens: raise --max-tokens" in said


def test_as_json_the_reason_is_a_field(lm: LanguageModel, tmp_path: Path, capsys: Capture) -> None:
    lm.save(tmp_path)
    out, said = say(capsys, tmp_path, "--max-tokens", "3", "--json")
    assert json.loads(out)["stop_reason"] == "length" and not said
