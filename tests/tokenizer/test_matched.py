"""Whole words by numpy: the ids of the library, for ties, unknown words and odd characters too."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, normalizers, pre_tokenizers

from tutelage.tokenizer import newpieces
from tutelage.tokenizer.building import ALPHABET, SPLITS, byte_level
from tutelage.tokenizer.known import LONGEST, KnownStrings, Strings
from tutelage.tokenizer.matched import LongestWords, UnigramWords
from tutelage.tokenizer.newpieces import NewPieces
from tutelage.tokenizer.pieces import Pieces
from tutelage.tokenizer.trie import END, Trie

PLAIN = "abcAZé学ไह"
ODD = (
    PLAIN + "7_ \n\t'/.#,«—\u0301\u094d\u0e31\u200d\u00a0\x00\x0b\x0c\x1c\x85\ufeff\U0001f469\U0001f3fb½²٣ſKﬁ\U0010ffff"
)
slow = settings(max_examples=120, deadline=None)
some_texts = st.lists(
    st.text(st.sampled_from(ODD), max_size=25) | st.text(st.sampled_from(PLAIN), max_size=60), max_size=8
)
any_texts = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=3)
tokens = st.lists(st.text(st.sampled_from("abcAé学"), min_size=1, max_size=6), max_size=20, unique=True)


def assert_like_the_library(library: tokenizers.Tokenizer, texts: list[str], matched: bool = True) -> None:
    pieces = Pieces(library)
    assert isinstance(pieces._each, NewPieces) and (pieces._each._words is not None) == matched
    for some in (texts, texts[::-1]):  # new, and met before
        wanted = [one.ids for one in library.encode_batch(some, add_special_tokens=False)]
        assert list(pieces.encode(some)) == wanted, some


@pytest.fixture(autouse=True)
def every_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newpieces, "_ENOUGH", 0)
    monkeypatch.setattr(newpieces, "_AT_ONCE", 5)


@pytest.mark.parametrize("split", SPLITS)
@given(longer=tokens, scores=st.lists(st.sampled_from([-1.0, -1.5, -2.0, -0.1, -0.3, -7.25]), min_size=25),
       texts=some_texts, others=any_texts)  # fmt: skip
@slow
def test_the_likeliest_tokens(
    split: Any, longer: list[str], scores: list[float], texts: list[str], others: list[str]
) -> None:
    """Few scores, so that many ways to cut a word are as likely as each other."""
    spelled = [pre_tokenizers.ByteLevel(False, use_regex=False).pre_tokenize_str(token)[0][0] for token in longer]
    vocabulary = dict.fromkeys([*ALPHABET, *spelled])
    model = models.Unigram([(token, scores[at % 25]) for at, token in enumerate(vocabulary)])
    library = byte_level(model, SPLITS[split], controls=False)
    assert_like_the_library(library, [*texts, "", *others], matched=split != "o200k")


STEPS = {
    "whitespace": (pre_tokenizers.Whitespace(), None),
    "whitespace only": (pre_tokenizers.WhitespaceSplit(), None),
    "bert": (pre_tokenizers.BertPreTokenizer(), normalizers.BertNormalizer()),
    "bert cased": (pre_tokenizers.BertPreTokenizer(), normalizers.BertNormalizer(lowercase=False)),
    "small": (pre_tokenizers.Whitespace(), normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])),
    "bare": (pre_tokenizers.WhitespaceSplit(), normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()])),
}  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
@given(begin=tokens, inner=tokens, most=st.sampled_from([3, 7, 100]), texts=some_texts, others=any_texts)
@slow
def test_the_longest_tokens(
    step: str, begin: list[str], inner: list[str], most: int, texts: list[str], others: list[str]
) -> None:
    vocabulary = dict.fromkeys(["<unk>", *"abcA_.#é学", "##a", "##b", "##.", *begin, *("##" + one for one in inner)])
    ids = {token: index for index, token in enumerate(vocabulary)}
    library = tokenizers.Tokenizer(models.WordPiece(ids, unk_token="<unk>", max_input_chars_per_word=most))
    library.pre_tokenizer, normalizer = STEPS[step]
    if normalizer is not None:
        library.normalizer = normalizer
    assert_like_the_library(library, [*texts, " ", "##a ##b", "<unk> a<unk>", *others])


def test_many_words_of_every_length() -> None:
    """Around the longest that numpy takes, in parts of many words."""
    scored = [(token, -3.0 - (at % 7) / 3) for at, token in enumerate([*ALPHABET, "aa", "ab", "aab", "abaa", "baba"])]
    library = byte_level(models.Unigram(scored), SPLITS["qwen2"], controls=False)
    words = [("ab" * 40)[at : at + size] + "a" * (size % 5) for size in range(1, 70) for at in (0, 1)]
    assert_like_the_library(library, [" ".join(words), *words])


def test_what_numpy_does_not_follow_is_left_to_the_library() -> None:
    few = models.Unigram([("a", -1.0), ("<unk>", -2.0)], 1, False)
    with pytest.raises(ValueError, match="lacks bytes"):
        UnigramWords(json.loads(byte_level(few, None, controls=False).to_str())["model"])
    bare = {"continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "unk_token": "?", "vocab": {"a": 0}}
    with pytest.raises(ValueError, match="unknown token"):
        LongestWords(bare)
    with pytest.raises(ValueError, match="other ids each time"):
        UnigramWords({"vocab": [[char, 0.0] for char in ALPHABET], "alpha": 0.5})


def test_words_in_bytes_and_in_characters_are_told_apart() -> None:
    """The models themselves do not say which they were made of."""
    scored = [(char, -1.0 - at / 300) for at, char in enumerate([*ALPHABET, "Ã©", "é"])]
    plain = byte_level(models.Unigram(scored, None, False), SPLITS["gpt2"], controls=False)
    plain.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(SPLITS["gpt2"]), behavior="isolated")
    assert_like_the_library(plain, ["é", "aé¡é"], matched=False)
    ids = {token: at for at, token in enumerate(["<unk>", *ALPHABET, *("##" + char for char in ALPHABET)])}
    spelled = byte_level(models.WordPiece(ids, unk_token="<unk>"), SPLITS["gpt2"], controls=False)
    assert_like_the_library(spelled, ["é a", "aéé"], matched=False)


def test_a_large_vocabulary_is_left_to_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tutelage.tokenizer.trie._MOST_CELLS", 1000)
    library = byte_level(models.Unigram([(char, -1.0) for char in [*ALPHABET, "abc", "bc"]]), SPLITS["gpt2"], False)
    assert_like_the_library(library, ["abc bc ab"], matched=False)


@given(st.lists(st.binary(min_size=1, max_size=5), unique=True, max_size=30), st.binary(max_size=40))
@slow
def test_a_trie_finds_every_token_at_every_place(some: list[bytes], text: bytes) -> None:
    text = text.replace(b"\xff", b"")
    some += [text[at : at + size] for at in range(0, len(text), 3) for size in (1, 2, 4)]
    some = list(dict.fromkeys(token for token in some if token))
    trie = Trie(some, range(len(some)), [0] * len(some))
    data = np.frombuffer(text + bytes([END]), np.uint8)
    found = {
        (at, length, index)
        for length, which, ids in trie.walk(data, np.arange(len(text)), np.zeros(len(text), int))
        for at, index in zip(which.tolist(), ids.tolist(), strict=True)
    }
    assert found == {
        (at, len(token), index)
        for index, token in enumerate(some)
        for at in range(len(text))
        if text.startswith(token, at) and END not in token
    }


@given(st.lists(st.lists(st.text("ab\x00é", min_size=1, max_size=18), unique=True), max_size=6))
@slow
def test_known_strings_are_found_again(batches: list[list[str]]) -> None:
    table, number, count = KnownStrings(), {}, 0
    for batch in batches:
        strings = Strings.of(batch)
        found = table.find(strings).tolist()
        assert found == [number.get(text, -1) for text in batch]
        new = np.flatnonzero(np.array(found, int) < 0)
        numbers = count + np.arange(len(new), dtype=np.int32)
        table.add(strings.some(new), numbers)
        number |= {batch[at]: one for at, one in zip(new.tolist(), numbers.tolist(), strict=True)
                   if len(batch[at].encode()) <= LONGEST}  # fmt: skip
        count += len(new)


def test_a_table_of_strings_grows() -> None:
    table = KnownStrings()
    texts = ["".join(some) for some in itertools.product("abcdefgh", repeat=6)]  # 262,144: four times its slots
    for start in range(0, len(texts), 50_000):
        part = texts[start : start + 50_000]
        table.add(Strings.of(part), start + np.arange(len(part), dtype=np.int32))
    assert np.mean(table.find(Strings.of(texts)) == np.arange(len(texts))) > 0.999
    assert set(table.find(Strings.of([text + "i" for text in texts[:1000]])).tolist()) == {-1}
