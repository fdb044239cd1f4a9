"""Words around every text: the same ids here and in transformers, none of which a text can change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.conftest import byte_tokenizer

from tutelage.store.errors import ConfigError
from tutelage.tokenizer.frame import with_frame
from tutelage.tokenizer.tokenizer import Tokenizer

FRAME = 'This text: "{text}" is about'


def test_a_text_stands_in_its_frame_with_the_tokens_it_has_alone() -> None:
    bare = byte_tokenizer()
    tok = with_frame(bare, FRAME)
    assert tok.begin_ids == bare.encode('This text: "') and tok.end_ids == bare.encode('" is about')
    assert tok.framed(tok.encode("cats")) == [*tok.begin_ids, *bare.encode("cats"), *tok.end_ids]
    assert tok.encode("cats") == bare.encode("cats") and tok.control_ids == bare.control_ids
    assert bare.framed([7]) == [7] and tok.vocab_size == bare.vocab_size


@pytest.mark.parametrize(
    ("frame", "begin", "end"), [("{text} .", "", " ."), ("> {text}", "> ", ""), ("{text}", "", "")]
)
def test_a_side_may_be_empty(frame: str, begin: str, end: str) -> None:
    tok = with_frame(byte_tokenizer(), frame)
    assert (tok.begin_ids, tok.end_ids) == (tok.encode(begin), tok.encode(end))


def test_what_the_tokenizer_adds_by_its_own_rule_stays_outside() -> None:
    tok = with_frame(with_frame(byte_tokenizer(), "a{text}b"), "c{text}d")
    assert (tok.begin_ids, tok.end_ids) == (tok.encode("ac"), tok.encode("db"))


@pytest.mark.parametrize("frame", ["no place", "{text} and {text}"])
def test_a_frame_says_once_where_the_text_stands(frame: str) -> None:
    with pytest.raises(ConfigError, match="once"):
        with_frame(byte_tokenizer(), frame)


@pytest.mark.parity
@pytest.mark.parametrize("settings", [{}, {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True}])
def test_transformers_adds_the_frame_too(settings: dict[str, Any], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    bare = byte_tokenizer()
    named = Tokenizer(bare.definition, {**bare.settings, "bos_token": "<|im_start|>", **settings}, bare.chat_template)
    tok = with_frame(named, FRAME)
    tok.save(tmp_path)
    theirs, again = transformers.AutoTokenizer.from_pretrained(tmp_path), Tokenizer.load(tmp_path)
    for text in ("cats", "", "Grüße 你好", FRAME):
        assert theirs(text)["input_ids"] == tok.framed(tok.encode(text)) == again.framed(again.encode(text))
    assert tok.begin_ids[:1] == ([1] if settings else bare.encode("T"))
