"""A classifier cannot write, a language model cannot classify: said at once, with the command that fits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tutelage.cli.main import main
from tutelage.inference.language_model import LanguageModel
from tutelage.model.decoder import DecoderLM
from tutelage.model.families import FamilyConfig
from tutelage.serving.app import make_app
from tutelage.store.errors import ConfigError
from tutelage.tokenizer.tokenizer import Tokenizer


@pytest.fixture
def classifier(lm: LanguageModel, tokenizer: Tokenizer) -> LanguageModel:
    config = FamilyConfig.parse({**lm.config.plain(), "num_labels": 2, "labels": ["ham", "spam"]})
    return LanguageModel(DecoderLM(config, seed=1), tokenizer)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    said = capsys.readouterr()
    assert ended.value.code == 2 and not said.out
    return said.err


@pytest.mark.parametrize("verb", [["chat"], ["chat", "--message", "Hi"], ["generate", "Hi"], ["serve", "--port", "1"]])
def test_a_classifier_is_not_talked_to(
    verb: list[str], classifier: LanguageModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classifier.save(tmp_path)
    said = refused(capsys, *verb, "-m", str(tmp_path))
    assert "classifier (ham, spam)" in said and "`tutelage classify`" in said


def test_a_language_model_does_not_classify(
    lm: LanguageModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lm.save(tmp_path)
    said = refused(capsys, "classify", "some text", "-m", str(tmp_path))
    assert "is a language model" in said and "tutelage finetune classify" in said and "tutelage chat" in said


@pytest.mark.parametrize(
    "use",
    [
        lambda lm: lm.logits([[1, 2]]),
        lambda lm: lm.score([("a", "b")]),
        lambda lm: lm.rolling(["a"]),
        lambda lm: lm.generate(["a"]),
        lambda lm: next(lm.stream([[1]])),
        lambda lm: lm.chat([{"role": "user", "content": "Hi"}]),
        lambda lm: lm.chat_batch([]),
        lambda lm: next(lm.chat_stream([{"role": "user", "content": "Hi"}])),
        make_app,
    ],
)
def test_nothing_but_classify_is_asked_of_it(use: Callable[[Any], Any], classifier: LanguageModel) -> None:
    with pytest.raises(ConfigError, match="is a classifier"):
        use(classifier)
    assert classifier.classify(["a"])[0].keys() == {"ham", "spam"}


def test_a_run_without_classifier_names_what_trains_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages = [{"stage": "instruct", "makes": "chat model", "artifact": "../a"}]
    for pending, hint in (([], "tutelage finetune classify"), ([{"stage": "c", "makes": "classifier"}], "to its end")):
        record = {"chat_model": "../a", "stages": [*stages, *pending]}
        (tmp_path / "run.json").write_text(json.dumps(record))
        said = refused(capsys, "classify", "some text", "-m", str(tmp_path))
        assert "it has: instruct" in said and hint in said


@pytest.mark.parametrize("name", ["a.xyz", "a.GGUF", "a.safetensors"])
def test_an_export_to_an_unknown_ending_is_refused(
    name: str, lm: LanguageModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lm.save(tmp_path / "model")
    said = refused(capsys, "export", str(tmp_path / name), "-m", str(tmp_path / "model"))
    assert "unknown export format" in said and ".gguf" in said and not (tmp_path / name).exists()
