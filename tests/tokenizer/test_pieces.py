"""Piece by piece: a cut is always the end of a word, and the ids are those of the library."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from small_tokenizers import corpus_texts, small
from tokenizers import models, normalizers, pre_tokenizers

from tutelage.tokenizer import pieces
from tutelage.tokenizer.building import SPLITS, byte_level
from tutelage.tokenizer.cuts import Cuts
from tutelage.tokenizer.pieces import Pieces

RULES: dict[str, tuple[Any, Any]] = {
    **{f"{split}": (byte_level(models.BPE(), pattern).pre_tokenizer, None) for split, pattern in SPLITS.items()},
    "qwen2, NFC": (byte_level(models.BPE(), SPLITS["qwen2"]).pre_tokenizer, normalizers.NFC()),
    "gpt2's own": (pre_tokenizers.ByteLevel(add_prefix_space=False), None),
    "whitespace": (pre_tokenizers.Whitespace(), None),
    "lower": (pre_tokenizers.Whitespace(), normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])),
    "bert, nothing normalised": (pre_tokenizers.BertPreTokenizer(), None),
    "bert": (pre_tokenizers.BertPreTokenizer(), normalizers.BertNormalizer()),
    "bert cased": (pre_tokenizers.BertPreTokenizer(), normalizers.BertNormalizer(lowercase=False)),
    "whitespace only": (pre_tokenizers.WhitespaceSplit(), normalizers.Sequence([normalizers.NFD(),
                                                                               normalizers.StripAccents()])),
}  # fmt: skip
ONE_OF_EACH = "as7 \n\t'/_.é’٣\u00a0\u0301"
ODD = ONE_OF_EACH + "ALlmrtvDE0½²\r\v\f\x00\x1c\x1f\x7f\x85\u1680\u180e\u2003\u2028\u200b\u200d\ufeff\ufffd\u3000—“”…·"
ODD += "，。Ａ７＿＋ｱﾞ«»§"
ODD += "ſKİßΣςЖя学한ไא\u05b0ا\u0640िⓐⅧ①٪€+=<|>\u2071\U0001d7d8\U0001f600\U0001f3fb\U00010400\ufdfa\ufc5e\u00a8\u0345"
texts_of_odd = st.lists(st.text(st.sampled_from(ODD), max_size=12), max_size=5)
texts_of_any = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=3)
slow = settings(max_examples=150, deadline=None)


@cache
def cuts(rule: str) -> Cuts:
    return Cuts(*(None if step is None else json.loads(step.__getstate__()) for step in RULES[rule]))


def words(rule: str, text: str) -> list[str]:
    cutting, normalizer = RULES[rule]
    if normalizer is not None:
        text = normalizer.normalize_str(text)
    return [word for word, _ in cutting.pre_tokenize_str(text)]


def pieces_of(rule: str, texts: list[str]) -> Iterator[list[str]]:
    data, begins, ends = cuts(rule).cut(texts)
    made = [data[begin:end].decode() for begin, end in itertools.pairwise(begins.tolist())]
    first = 0
    for last in ends.tolist():
        yield made[first:last]
        first = last


def assert_cut_between_words(rule: str, texts: list[str]) -> None:
    for text, some in zip(texts, pieces_of(rule, texts), strict=True):
        assert [word for piece in some for word in words(rule, piece)] == words(rule, text), (text, some)


@pytest.mark.parametrize("rule", RULES)
@given(odd=texts_of_odd, any_=texts_of_any)
@slow
def test_words_of_the_pieces_are_those_of_the_text(rule: str, odd: list[str], any_: list[str]) -> None:
    assert_cut_between_words(rule, [*odd, "", *any_])


@pytest.mark.parametrize("rule", RULES)
def test_between_any_three_kinds_of_characters(rule: str) -> None:
    assert_cut_between_words(rule, ["".join(some) for some in itertools.product(ONE_OF_EACH, repeat=3)])


@pytest.mark.parametrize("rule", RULES)
def test_what_stands_before_signs_and_blanks(rule: str) -> None:
    """Between any two of some ends and any two of some beginnings."""
    before, after = ["", "'", ".", "a", "7", " ", "\n", "/"], ["\r/", "/_", " .", "''", "  ", "\n ", "\t ", " \t", "—"]
    texts = [
        "".join(some) for some in itertools.product(before, before, after, ("", "'", "_", " "), ("", "b", "7", "b "))
    ]
    assert_cut_between_words(rule, texts)


@pytest.mark.parametrize("rule", RULES)
def test_plain_text_is_cut_into_single_words(rule: str) -> None:
    """Otherwise hardly a piece would be met again."""
    text = "It was the best of times, it was the worst of times; Größe “liegt” nicht im Lärm."
    (some,) = pieces_of(rule, [text])
    assert len(some) >= text.count(" ") + 1
    assert max(len(words(rule, piece)) for piece in some) <= 3


def test_what_is_not_known_is_refused() -> None:
    plain = {"type": "Split", "pattern": {"Regex": SPLITS["gpt2"]}, "behavior": "Isolated", "invert": False}
    to_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    Cuts({"type": "Sequence", "pretokenizers": [plain, to_bytes]}, None)
    for steps, normalizer in (
        ([plain | {"pattern": {"Regex": r"\s+"}}], None),
        ([plain | {"pattern": {"String": " "}}], None),
        ([plain | {"behavior": "Removed"}], None),
        ([plain | {"invert": True}], None),
        ([plain, to_bytes | {"use_regex": True}], None),
        ([plain, to_bytes | {"add_prefix_space": True}], None),
        ([plain, plain], None),
        ([], None),
        ([plain], {"type": "NFKC"}),
        ([plain], {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Prepend", "prepend": "▁"}]}),
    ):
        with pytest.raises(ValueError):
            Cuts({"type": "Sequence", "pretokenizers": steps}, normalizer)


METHODS = ("bpe", "unigram", "wordpiece", "word", "byte", "char", "bpe_fallback")
TEXTS = [
    *corpus_texts(60), "", " ", "a", "\n\n", "It's 1999,\r\n  naïve\tTÉ ſ 学習 \u0663 ½² a\u200db\u0301 _x_",
    "x" * 3000, "\x00\x1c\x85\ufeff", "##a ##ab Ġthe ▁a", "日本語の学習。中文", "ไทยภาษา", "<unk><|im_end|>",
    "\U0010ffff a \U0010ffff",
]  # fmt: skip


def library_of(method: str) -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer.from_str(small(method).definition)
    made.encode_special_tokens = True
    return made


def pieces_by(method: str) -> tuple[Pieces, tokenizers.Tokenizer]:
    library = library_of(method)
    return Pieces(library), library


def ids_of(library: tokenizers.Tokenizer, texts: list[str]) -> list[list[int]]:
    return [one.ids for one in library.encode_batch(texts, add_special_tokens=False)]


@pytest.mark.parametrize("method", METHODS)
def test_pieces_are_learned_and_forgotten(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after another, in small and large batches, and with a memory that is soon full."""
    monkeypatch.setattr(pieces, "MOST_PIECES", 60)
    made, library = pieces_by(method)
    choose = random.Random(1)
    for count in (len(TEXTS), 1, 2, 5, len(TEXTS), 0, 3):
        texts = choose.sample(TEXTS, count)
        assert list(made.encode(texts)) == ids_of(library, texts)


@pytest.mark.parametrize("method", METHODS)
def test_no_more_is_remembered_than_allowed(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "MOST_BYTES", 2000)
    made, library = pieces_by(method)
    for number in range(30):
        texts = [f"{number}a{place} {chr(0x4E00 + 50 * number + place)}" for place in range(50)]
        assert list(made.encode(texts)) == ids_of(library, texts)
        assert made._source.size <= 2000


@pytest.mark.parametrize("method", METHODS)
def test_threads_may_share_it(method: str) -> None:
    made, library = pieces_by(method)
    batches = [random.Random(seed).sample(TEXTS, 40) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(made.encode, batches))
    assert [list(one) for one in found] == [ids_of(library, texts) for texts in batches]


@pytest.mark.parametrize("method", METHODS)
def test_any_number_of_threads_gives_the_same(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [text for seed in range(6) for text in random.Random(seed).sample(TEXTS, len(TEXTS))]
    found = []
    for threads, most in (("1", 500_000), ("3", 500_000), ("3", 40)):
        monkeypatch.setenv("RAYON_NUM_THREADS", threads)
        monkeypatch.setattr(pieces, "MOST_PIECES", most)
        made, library = pieces_by(method)
        monkeypatch.setattr(type(made._source), "at_once", 300)
        found.append(list(made.encode(texts)))
    assert found == [ids_of(library, texts)] * 3


def test_a_piece_without_ids_is_said_and_nothing_is_remembered_of_it() -> None:
    library = tokenizers.Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="?"))
    library.pre_tokenizer = pre_tokenizers.Whitespace()
    made = Pieces(library)
    with pytest.raises(ValueError, match="cannot be encoded"):
        made.encode(["a b", "c"])
    assert list(made.encode(["b a", "", " b"])) == [[1, 0], [], [1]]


def test_models_that_look_beyond_a_piece_are_refused() -> None:
    library = library_of("bpe")
    library.add_tokens(["<think>"])
    with pytest.raises(ValueError, match="added tokens"):
        Pieces(library)
    dropping = library_of("bpe")
    dropping.model.dropout = 0.5
    with pytest.raises(ValueError, match="dropout"):
        Pieces(dropping)
    merging = library_of("bpe")  # without words, merges go across the whole text
    merging.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    with pytest.raises(ValueError, match="pre-tokenizer"):
        Pieces(merging)
