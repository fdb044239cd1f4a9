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
