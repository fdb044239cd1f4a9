"""What stands before a text: by the tokenizer's own rule, as in transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers.processors import TemplateProcessing

from tutelage.store.errors import InputError
from tutelage.tokenizer.tokenizer import Tokenizer

NAMES = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def made(processor: bool, settings: dict[str, Any]) -> Tokenizer:
    library = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={"a": 0, "b": 1}, merges=[]))
    library.add_special_tokens(NAMES)  # ids 2, 3, 4
    if processor:
        library.post_processor = TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", 3)])
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": NAMES[1], "eos_token": NAMES[2]}
    return Tokenizer(library.to_str(), names | settings)


@pytest.mark.parametrize(
    ("processor", "settings", "begin", "start"),
    [
        (False, {"add_bos_token": False}, [], 2),  # SmolLM2: the turn opener is named as begin-of-text
        (False, {}, [], 2),
        (True, {}, [3], 3),
        (True, {"add_bos_token": False}, [3], 3),  # as transformers 5: the post-processor decides
        (False, {"add_bos_token": True}, [], 2),
        (True, {"tokenizer_class": "LlamaTokenizer", "add_bos_token": False}, [], 2),
        (False, {"eos_token": NAMES[0]}, [], 2),
    ],
)
def test_the_tokenizers_own_rule_decides(
    processor: bool, settings: dict[str, Any], begin: list[int], start: int
) -> None:
    tok = made(processor, settings)
    assert (tok.begin_ids, tok.start_id) == (begin, start)


@pytest.mark.parity
@pytest.mark.parametrize("processor", [False, True])
@pytest.mark.parametrize("settings", [{}, {"add_bos_token": True}, {"add_bos_token": False}], ids=json.dumps)
def test_transformers_begins_a_text_alike(processor: bool, settings: dict[str, Any], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tok = made(processor, settings)
    tok.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert [*tok.begin_ids, *tok.encode("ab")] == theirs("ab")["input_ids"]


def test_named_templates_never_vanish(tmp_path: Path) -> None:
    tok = made(False, {})
    tok.save(tmp_path)
    path = tmp_path / "tokenizer_config.json"

    def load(*names: str) -> str | None:
        named = [{"name": name, "template": f"template {name}"} for name in names]
        path.write_text(json.dumps(tok.settings | {"chat_template": named}))
        return Tokenizer.load(tmp_path).chat_template

    assert load("tool_use", "default") == "template default"
    assert load("tool_use") == "template tool_use"
    with pytest.raises(InputError, match="rag, tool_use"):
        load("tool_use", "rag")


@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_the_models_config_names_the_end_of_text_where_no_other_file_does(file: str, tmp_path: Path) -> None:
    """GPT-2 as it was published: vocabulary, merges, tokenizer.json and config.json, no tokenizer_config.json."""
    made(False, {}).save(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    with pytest.raises(InputError, match="no end-of-text token"):
        Tokenizer.load(tmp_path)
    (tmp_path / file).write_text(json.dumps({"bos_token_id": 2, "eos_token_id": [4, 2]}))
    tok = Tokenizer.load(tmp_path)
    assert (tok.eos_id, tok.bos_id, tok.start_id) == (4, 2, 2)
    assert 4 not in tok.encode("<|im_end|>") and {2, 4} <= set(tok.control_ids)
    tok.save(tmp_path / "again")  # and it is written where every reader finds it
    assert Tokenizer.load(tmp_path / "again").special_tokens == tok.special_tokens


@pytest.mark.parametrize("index", [99, -1, True, "2"])
def test_an_id_that_is_no_token_names_nothing(index: Any, tmp_path: Path) -> None:
    made(False, {}).save(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": index}))
    with pytest.raises(InputError, match="no end-of-text token"):
        Tokenizer.load(tmp_path)
