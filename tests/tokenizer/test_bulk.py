"""Many texts at once: the same ids as one by one, whoever encodes, and who it was is said."""

from __future__ import annotations

import json
import pickle
import sys
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from small_tokenizers import corpus_texts, small

from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.tokenizer import bulk
from tutelage.tokenizer.bulk import Encoded
from tutelage.tokenizer.config import SPECIAL_TOKENS, TokenizerConfig
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.tokenizer.train import train

FAST = ("bpe", "byte", "bpe_fallback", "superbpe", "unigram", "wordpiece", "word", "char")
DIRECT = ("bpe", "bpe_fallback", "superbpe")
OWN = r"\p{Lu}?\p{Ll}+| ?\p{N}|\s+(?!\S)|[^\p{L}\p{N}]|\p{L}"  # a pattern of which no cuts are known
hostile = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.text("ab Z9é学ก\u0301\r\n\t\u00a0'", max_size=30),
        st.sampled_from([*SPECIAL_TOKENS, *(f" {token} " for token in SPECIAL_TOKENS), "<unk>", "<0x41>", "'LL"]),
    )
).map("".join)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "ENOUGH", 0)


def fresh(tok: Tokenizer) -> Tokenizer:
    """The same tokenizer, for which no encoder is chosen yet."""
    return Tokenizer(tok.definition, tok.settings, tok.chat_template, tok.stop_ids)


@pytest.fixture(scope="module")
def fast(trained: dict[str, Tokenizer]) -> dict[str, Tokenizer]:
    pytest.importorskip("fastokens")
    made = {method: fresh(trained[method]) for method in FAST}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "ENOUGH", 0)
        for tok in made.values():
            tok.encode_flat(["a"])
    return made


def test_after_the_encoder_was_given_up_the_ids_are_the_same(trained: dict[str, Tokenizer]) -> None:
    pytest.importorskip("fastokens")
    tok, texts = fresh(trained["bpe"]), corpus_texts()[:20]
    before = tok.encode_batch(texts)
    assert tok.encoder.startswith("fastokens")
    tok.release_encoder()
    assert tok._bulk._fast is None and tok.encoder == f"tokenizers {tokenizers.__version__} (few texts)"
    assert tok.encode_batch(texts) == before and tok.encoder.startswith("fastokens")  # built anew


@given(texts=st.lists(hostile, max_size=4))
@settings(max_examples=100, deadline=None)
def test_the_fast_encoder_gives_the_ids_of_the_library(fast: dict[str, Tokenizer], texts: list[str]) -> None:
    for method, tok in fast.items():
        assert tok.slow_because is None and tok.mistaken is None, (method, tok.encoder)
        assert tok.encoder.endswith("each word once") == (method not in DIRECT), (method, tok.encoder)
        assert tok.encode_batch(texts) == [tok.encode(text) for text in texts], method


@pytest.mark.parametrize("split", ["gpt2", "cl100k", "digits2", "qwen2", "o200k", None])
def test_with_every_split(split: str | None) -> None:
    pytest.importorskip("fastokens")
    own = {"split": split} if split else {"pattern": OWN}
    texts = [*corpus_texts(), "It's 1234567,89 \r\n\r\n  don'T  naïveTÉ ſ 学習\t٣٤٥ "]
    tok = train(TokenizerConfig(vocab_size=500, **own), texts, EventLog())
    assert tok.encode_batch(texts) == [tok.encode(text) for text in texts]
    assert tok.encoder.startswith("fastokens")


def test_words_of_an_unknown_pattern_are_cut_by_fastokens() -> None:
    pytest.importorskip("fastokens")
    tok, texts = small("unigram", pattern=OWN), [*corpus_texts(50), "It's 12\n\n  學习 Éé"]
    assert tok.encode_batch(texts) == [tok.encode(text) for text in texts]
    assert tok.encoder.startswith("fastokens") and tok.encoder.endswith("word by word")


def test_what_the_fast_encoder_does_not_do_alike_is_said(trained: dict[str, Tokenizer]) -> None:
    pytest.importorskip("fastokens")
    data = json.loads(trained["char"].definition)
    # No model of characters only: its only merge keeps it from being encoded character by character.
    data["model"] |= {"merges": [["e", "r"]], "vocab": data["model"]["vocab"] | {"er": len(data["model"]["vocab"])}}
    tok = Tokenizer(json.dumps(data), trained["char"].settings)
    assert tok.encode_batch(corpus_texts(9)) == [tok.encode(text) for text in corpus_texts(9)]
    # In a vocabulary of characters without "<" fastokens takes the text "<0x41>" for the byte of that name.
    assert tok.encoder.startswith("tokenizers") and "other ids" in str(tok.slow_because)
    assert tok.encode_batch(["<0x41>"]) == [tok.encode("<0x41>")]


@pytest.fixture(scope="module")
def own() -> Tokenizer:
    return small("bpe", pattern=OWN)


class Almost:
    """A stand-in for fastokens that has the ids of the library but for some texts."""

    def __init__(self, tok: Tokenizer, wrong: str = "", fails: str = "") -> None:
        self.tok, self.wrong, self.fails = tok, wrong, fails

    def no_truncation(self) -> None: ...

    def no_padding(self) -> None: ...

    def encode_batch_flat(self, texts: list[str], add_special_tokens: bool, as_text: bool) -> tuple[bytes, bytes]:
        assert not add_special_tokens and as_text
        if self.fails and any(self.fails in text for text in texts):
            raise ValueError("match limit exceeded")
        ids = [[0] if self.wrong and self.wrong in text else self.tok.encode(text) for text in texts]
        begins = np.cumsum([0, *map(len, ids)], dtype="<u8")
        return np.array([one for row in ids for one in row], "<u4").tobytes(), begins.tobytes()


def with_stand_in(monkeypatch: pytest.MonkeyPatch, tok: Tokenizer, **how: str) -> Tokenizer:
    library = SimpleNamespace(from_json_str=lambda definition: Almost(tok, **how))
    monkeypatch.setitem(sys.modules, "fastokens", SimpleNamespace(Tokenizer=library))
    monkeypatch.setattr(bulk, "version", lambda name: "1.0")
    return fresh(tok)


@pytest.mark.parametrize("wrong", ["<|im_end|>", "\r\n", "日本語", "a" * 2000, "the snark"])
def test_one_text_with_other_ids_is_enough(own: Tokenizer, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    """On probes, or on the texts themselves; the library then encodes, and it is said."""
    tok = with_stand_in(monkeypatch, own, wrong=wrong)
    texts = ["it was", "the snark", "a<|im_end|>b"]
    assert tok.encode_batch(texts) == [own.encode(text) for text in texts]
    assert tok.encoder.startswith("tokenizers") and "other ids" in tok.encoder


def test_without_a_difference_it_is_used(own: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    tok = with_stand_in(monkeypatch, own)
    assert tok.encode_batch(["it was"]) == [own.encode("it was")]
    assert tok.encoder == "fastokens 1.0"


def test_where_it_fails_later_the_library_goes_on(own: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    tok = with_stand_in(monkeypatch, own, fails="snark")
    assert tok.encode_batch(["it was"]) == [own.encode("it was")] and tok.slow_because is None
    assert tok.encode_batch(["the snark"]) == [own.encode("the snark")]
    assert tok.slow_because == "fastokens: match limit exceeded"


@pytest.mark.parametrize("wrong", ["\u2603", "\U00012000"])
def test_a_difference_that_comes_later_is_noticed(own: Tokenizer, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    """A rare character at the end of a long batch; from then on the library encodes, and who doubts is told why."""
    tok = with_stand_in(monkeypatch, own, wrong=wrong)
    plain = ["it was naïve, 学習"] * 50
    assert tok.encode_batch(plain) == [own.encode(text) for text in plain]
    assert tok.encoder == "fastokens 1.0" and tok.mistaken is None
    texts = [*plain, "it was " * 200 + wrong, "it was"]
    assert tok.encode_batch(texts) == [own.encode(text) for text in texts]
    assert tok.encoder.startswith("tokenizers") and tok.slow_because == tok.mistaken
    assert "50 texts were encoded by it before" in str(tok.mistaken)


def test_a_difference_in_plain_letters_is_noticed_in_time(own: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    tok = with_stand_in(monkeypatch, own, wrong="snark")
    tok.encode_batch(["it was"])
    batches = 0
    while tok.mistaken is None and batches < 100:
        tok.encode_batch(["it was"] * 9 + ["the snark"])
        batches += 1
    assert 0 < batches < 100


def test_not_installed_is_said(own: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastokens", None)
    tok = fresh(own)
    assert tok.encode_batch(["it was"]) == [own.encode("it was")]
    assert "(fastokens is not installed; encoding each word once: " in tok.encoder


@pytest.mark.parametrize("wrong", ["", "\r\n"])
def test_words_are_encoded_once_where_it_is_missing_or_errs(
    bpe: Tokenizer, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    if wrong:
        with_stand_in(monkeypatch, bpe, wrong=wrong)
        monkeypatch.setattr(bulk, "version", lambda name: tokenizers.__version__)
    else:
        monkeypatch.setitem(sys.modules, "fastokens", None)
    tok = fresh(bpe)
    assert tok.encode_batch(["it was"]) == [bpe.encode("it was")]
    assert tok.encoder == f"tokenizers {tokenizers.__version__}, each word once"


def test_few_texts_are_not_worth_it(own: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "ENOUGH", 100)
    tok = fresh(own)
    tok.encode_batch(["it was"])
    assert tok.encoder.endswith("(few texts)") and tok.slow_because is None


@pytest.mark.parametrize("text", ["\ud800", b"bytes", None])
def test_what_is_no_text_is_refused(fast: dict[str, Tokenizer], text: Any) -> None:
    for tok in (fast["bpe"], fresh(fast["bpe"])):  # chosen already, and not yet
        with pytest.raises(InputError, match="text 1 to encode"):
            tok.encode_flat(["fine", text])
        assert tok.encode_batch(["fine"]) == [tok.encode("fine")] and tok.slow_because is None


def test_the_library_is_fed_in_parts(trained: dict[str, Tokenizer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_AT_ONCE", 50)
    tok, texts = trained["unigram"], [*corpus_texts(30), "", ""]
    found = tok.encode_flat(texts)
    assert list(found) == [tok.encode(text) for text in texts]
    assert found.ids.dtype == np.uint32 and len(found.ends) == len(texts)
    assert list(tok.encode_flat([])) == []


@given(st.lists(st.lists(st.integers(0, 2**32 - 1))))
def test_encoded_is_lists_in_one_array(lists: list[list[int]]) -> None:
    assert list(Encoded.of(lists)) == lists


def test_truncation_and_padding_of_a_foreign_definition_are_off() -> None:
    pytest.importorskip("fastokens")
    tok = train(TokenizerConfig(method="byte"), ["a"], EventLog())
    library = tokenizers.Tokenizer.from_str(tok.definition)
    library.enable_truncation(4)
    library.enable_padding(length=9)
    cut = Tokenizer(library.to_str(), tok.settings, tok.chat_template)
    assert [len(ids) for ids in cut.encode_batch(["abcdefgh", "a"])] == [8, 1]
    assert cut.encoder.endswith("each word once")


@given(
    text=st.lists(st.sampled_from(["<think>", "<TOOL>", "pad", "x", " ", "\n", "<s>", "É", "é", "<|im_end|>"])).map(
        "".join
    )
)
@settings(max_examples=200, deadline=None)
def test_added_tokens_of_every_kind_are_found_alike(text: str) -> None:
    tok = added()
    assert tok.encode_batch([text]) == [tok.encode(text)]
    assert not set(tok.encode(text)) & tok.control_ids
    assert ("<think>" in text) == (tok.token_to_id("<think>") in tok.encode(text))


@cache
def added() -> Tokenizer:
    """A byte vocabulary of someone else's: a normalizer, and added tokens that take space along or stand alone."""
    bare = train(TokenizerConfig(method="byte"), ["a"], EventLog())
    library = tokenizers.Tokenizer.from_str(bare.definition)
    library.normalizer = tokenizers.normalizers.NFC()
    library.add_tokens([
        tokenizers.AddedToken("<think>", special=False),
        tokenizers.AddedToken("<TOOL>", special=False, lstrip=True, rstrip=True, normalized=False),
        tokenizers.AddedToken("pad", special=False, single_word=True),
    ])  # fmt: skip
    library.add_special_tokens([tokenizers.AddedToken("<s>", special=True, lstrip=True)])
    return Tokenizer(library.to_str(), bare.settings, bare.chat_template)


def test_goes_through_pickle(fast: dict[str, Tokenizer]) -> None:
    for tok in fast.values():
        again = pickle.loads(pickle.dumps(tok))
        assert again.encode_batch(["return the list"]) == [tok.encode("return the list")]


def test_a_pattern_that_backtracks_without_end_is_named() -> None:
    """Both libraries give up; `tokenizers` by a panic, which is no Exception."""
    text = "a" * 60 + "c"
    config = TokenizerConfig(vocab_size=300, pattern=r"(?:a|aa|a+)+b|\p{L}|[^\p{L}]")
    with pytest.raises(InputError, match="pattern"):
        train(config, [text], EventLog())
    tok = train(config, ["abc" * 9], EventLog())
    for encode in (tok.encode, lambda one: tok.encode_batch([one])):
        with pytest.raises(InputError, match="pattern"):
            encode(text)
