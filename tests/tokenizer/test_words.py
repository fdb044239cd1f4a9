"""Word by word: the ids of the library, however the words are met, remembered and forgotten."""

from __future__ import annotations

import json
import random

import pytest
import tokenizers
from small_tokenizers import corpus_texts, small

from tutelage.tokenizer import words
from tutelage.tokenizer.words import Words

pytest.importorskip("fastokens")
TEXTS = [
    *corpus_texts(60), "", " ", "a", "\n\n", "It's 1999,\r\n  naïve\tTÉ ſ 学習 \u0663 ½² a\u200db\u0301 _x_",
    "\x00\x1c\x85\ufeff",
    "##a ##ab Ġthe ▁a", "日本語の学習。中文", "ไทยภาษา", "x" * 3000, "<unk><|im_end|>",
]  # fmt: skip


def library(definition: str) -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer.from_str(definition)
    made.encode_special_tokens = True
    return made


def ids_of(definition: str, texts: list[str]) -> list[list[int]]:
    return [one.ids for one in library(definition).encode_batch(texts, add_special_tokens=False)]


@pytest.mark.parametrize("method", ["unigram", "wordpiece", "word", "bpe", "bpe_fallback"])
def test_words_are_learned_and_forgotten(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_AT_ONCE", 200)
    monkeypatch.setattr(words, "MOST_WORDS", 60)
    definition = small(method).definition
    made, choose = Words(definition), random.Random(1)
    for _ in range(5):
        texts = choose.sample(TEXTS, len(TEXTS))
        assert list(made.encode(texts)) == ids_of(definition, texts)


@pytest.mark.parametrize("split", ["gpt2", "cl100k", "digits2", "qwen2", "o200k"])
def test_with_every_split(split: str) -> None:
    definition = small("unigram", split=split).definition
    made = Words(definition)
    for _ in range(3):
        assert list(made.encode(TEXTS)) == ids_of(definition, TEXTS)


def test_long_words_are_met_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_WORTH", 0)  # all that was met twice is learned at once
    definition = small("unigram").definition
    made, texts = Words(definition), ["学" * 22_000, "a b a b"] * 2
    for _ in range(2):
        assert list(made.encode(texts)) == ids_of(definition, texts)


def test_with_a_normalizer_and_steps_of_someone_else() -> None:
    data = json.loads(small("unigram").definition)
    split = {"type": "Split", "pattern": {"Regex": r"\s+"}, "behavior": "MergedWithNext", "invert": False}
    to_bytes = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": False}
    data |= {"normalizer": {"type": "NFC"}, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, to_bytes]}}
    definition = json.dumps(data)
    made = Words(definition)
    for _ in range(2):
        assert list(made.encode(TEXTS)) == ids_of(definition, TEXTS)


def test_what_is_not_encoded_word_by_word_is_refused() -> None:
    data = json.loads(small("unigram").definition)
    added = {"id": 9, "content": "the", "special": False, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False}  # fmt: skip
    for changed in (
        {"pre_tokenizer": None},
        {"pre_tokenizer": data["pre_tokenizer"]["pretokenizers"][1]},
        {"added_tokens": [added]},
        {"model": data["model"] | {"dropout": 0.5}},
        {"normalizer": {"type": "Nmt"}},
    ):
        with pytest.raises(ValueError):
            Words(json.dumps(data | changed))
