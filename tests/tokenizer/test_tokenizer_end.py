"""What ends a text where only the model's config.json says so, as in GPT-2's layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tutelage.inference.language_model import LanguageModel
from tutelage.loading import load
from tutelage.store.errors import InputError
from tutelage.tokenizer.tokenizer import Tokenizer


def layout(lm: LanguageModel, directory: Path, **ids: Any) -> Path:
    """The files of a model as GPT-2 has them: the tokenizer's settings name no token, config.json has its id."""
    lm.save(directory)
    (directory / "chat_template.jinja").unlink()
    (directory / "generation_config.json").unlink()
    (directory / "tokenizer_config.json").write_text('{"model_max_length": 64}')
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, **ids}))
    return directory


@pytest.mark.parametrize("ids", [0, [0, 2]])
def test_the_config_names_it(ids: int | list[int], lm: LanguageModel, tmp_path: Path) -> None:
    source = layout(lm, tmp_path / "gpt2", eos_token_id=ids)
    again = load(source, device="cpu", dtype="float32")
    assert (again.tokenizer.eos_id, again.tokenizer.end_of_text_id, again.tokenizer.start_id) == (0, 0, 0)
    assert set(again.stop_ids) == ({0, 2} if isinstance(ids, list) else {0})
    assert again.prompt_ids("Return") == lm.prompt_ids("Return") and again.generate(["Return"])[0].ids
    assert 0 not in again.tokenizer.encode("<|endoftext|>")  # a control token: no text leads to it
    again.save(tmp_path / "out")
    assert Tokenizer.load(tmp_path / "out").eos_id == 0


def test_the_tokenizers_own_files_go_first(lm: LanguageModel, tmp_path: Path) -> None:
    source = layout(lm, tmp_path, eos_token_id=2)
    (source / "tokenizer_config.json").write_text('{"eos_token": "<|endoftext|>"}')
    assert Tokenizer.load(source).eos_id == 0


@pytest.mark.parametrize("ids", [None, 9999, -1, "0", [], {}])
def test_what_is_no_id_is_still_an_error(ids: Any, lm: LanguageModel, tmp_path: Path) -> None:
    source = layout(lm, tmp_path, eos_token_id=ids)
    with pytest.raises(InputError, match="names no end-of-text token"):
        Tokenizer.load(source)
