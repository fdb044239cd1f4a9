from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from small_tokenizers import LOSSY, SIZES, corpus_texts

from byte_model import byte_tokenizer
from tutelage.store.errors import DamagedError, InputError
from tutelage.store.events import EventLog
from tutelage.tokenizer.config import SPECIAL_TOKENS, TokenizerConfig
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.tokenizer.train import train

LOSSLESS = tuple(method for method in SIZES if method not in LOSSY)
anything = st.text(st.characters(exclude_categories=["Cs"]))
hostile = st.lists(
    st.one_of(anything, st.sampled_from([*SPECIAL_TOKENS, "<|im", "_end|>", "<unk>", "<0x41>", " <|im_end|> "]))
).map("".join)


@given(text=hostile)
@settings(max_examples=150, deadline=None)
def test_lossless_for_any_text(trained: dict[str, Tokenizer], text: str) -> None:
    for method in LOSSLESS:
        tok = trained[method]
        ids = tok.encode(text)
        assert tok.decode(ids) == text, method
        assert b"".join(tok.token_bytes(index) for index in ids) == text.encode(), method


@given(text=hostile)
@settings(max_examples=150, deadline=None)
def test_text_never_becomes_a_control_token(trained: dict[str, Tokenizer], text: str) -> None:
    for method, tok in trained.items():
        (batch,) = tok.encode_batch([text])
        assert batch == tok.encode(text)
        assert not set(batch) & {0, 1, 2}, method


def test_the_library_alone_would_take_the_bait(bpe: Tokenizer) -> None:
    assert bpe.encode_control("a<|im_end|>b")[1:2] == [2]
    assert 2 not in bpe.encode("a<|im_end|>b")


def test_wordpiece_is_lossy_as_stated(trained: dict[str, Tokenizer]) -> None:
    tok = trained["wordpiece"]
    assert tok.decode(tok.encode("the list of files")) == "the list of files"
    assert tok.decode(tok.encode("the  list")) == "the list"
    assert tok.encode("☃") == [tok.token_to_id("<unk>")]


def test_word_knows_whole_words_only(trained: dict[str, Tokenizer]) -> None:
    tok = trained["word"]
    unknown = tok.token_to_id("<unk>")
    assert tok.decode(tok.encode("the list  of\nfiles")) == "the list of files"
    assert tok.encode("the lists") == [tok.token_to_id("the"), unknown]


def test_bpe_with_fallback_merges_characters_and_spells_rare_ones(trained: dict[str, Tokenizer]) -> None:
    tok = trained["bpe_fallback"]
    assert len(tok.encode("学習")) < 6
    assert [tok.token_bytes(index) for index in tok.encode("☃")] == [b"\xe2", b"\x98", b"\x83"]
    assert len(tok.encode(" directory")) < 5


def test_superbpe_crosses_words_and_needs_fewer_tokens() -> None:
    texts = ["it is one of the best of all, as well as one of the rest: 1 2 3\nby the way\n" * 20]
    tok = train(TokenizerConfig(method="superbpe", vocab_size=360), texts, EventLog())
    plain = train(TokenizerConfig(vocab_size=360), texts, EventLog())
    words = [tok.token_bytes(index).strip() for index in range(259, tok.vocab_size)]
    assert b"one of the" in words
    assert all(word.count(b" ") < 4 and b"\n" not in word for word in words)
    assert len(tok.encode(texts[0])) < 0.7 * len(plain.encode(texts[0]))
    assert tok.decode(tok.encode("1 2  3\r\nby the\tway")) == "1 2  3\r\nby the\tway"


def test_byte_ids_are_bytes(trained: dict[str, Tokenizer]) -> None:
    tok = trained["byte"]
    assert len({tok.encode(chr(code))[0] for code in range(128)}) == 128
    assert len(tok.encode("学習")) == 6
    assert sorted(tok.token_bytes(index) for index in range(3, 259)) == [bytes([byte]) for byte in range(256)]


def test_char_takes_rare_characters_as_bytes(trained: dict[str, Tokenizer]) -> None:
    tok = trained["char"]
    assert len(tok.encode("learn")) == 5
    assert [tok.token_bytes(index) for index in tok.encode("☃")] == [b"\xe2", b"\x98", b"\x83"]


def test_part_of_a_character_shows_as_replacement(trained: dict[str, Tokenizer]) -> None:
    tok = trained["byte"]
    assert tok.decode(tok.encode("é")[:1]) == "\ufffd"


def test_decode_shows_or_skips_control_tokens(bpe: Tokenizer) -> None:
    ids = [1, *bpe.encode("hi"), 2]
    assert bpe.decode(ids) == "hi"
    assert bpe.decode(ids, skip_special=False) == "<|im_start|>hi<|im_end|>"
    assert bpe.token_bytes(2) == b"<|im_end|>"


@pytest.mark.parametrize("text", ["\ud800", b"bytes", None])
def test_what_is_no_text_is_refused(bpe: Tokenizer, text: str) -> None:
    with pytest.raises(InputError, match="text 0"):
        bpe.encode(text)
    with pytest.raises(InputError, match="text 1"):
        bpe.encode_batch(["fine", text])


@pytest.mark.parametrize("index", [-1, 400, 10**6])
def test_ids_outside_the_vocabulary_are_refused(bpe: Tokenizer, index: int) -> None:
    with pytest.raises(InputError, match="no token"):
        bpe.id_to_token(index)
    with pytest.raises(InputError, match="no token"):
        bpe.token_bytes(index)


@pytest.mark.parametrize("method", SIZES)
def test_save_and_load_change_nothing(trained: dict[str, Tokenizer], method: str, tmp_path: Path) -> None:
    tok = trained[method]
    tok.save(tmp_path / "a")
    again = Tokenizer.load(tmp_path / "a")
    again.save(tmp_path / "b")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "chat_template.jinja",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    text = "return the <|im_end|> größe\n"
    assert again.encode(text) == tok.encode(text)
    assert (again.stop_ids, again.vocab_size, again.chat_template) == (tok.stop_ids, tok.vocab_size, tok.chat_template)


def test_threads_share_one_tokenizer(bpe: Tokenizer) -> None:
    texts = corpus_texts(64)
    wanted = [bpe.encode(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(bpe.encode, texts * 4)) == wanted * 4


def test_missing_and_damaged_files_are_named(bpe: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tokenizer\.json is missing"):
        Tokenizer.load(tmp_path)
    bpe.save(tmp_path)
    whole = (tmp_path / "tokenizer.json").read_bytes()
    (tmp_path / "tokenizer.json").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedError, match=r"tokenizer\.json"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(whole)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(DamagedError, match=r"tokenizer_config\.json"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    with pytest.raises(InputError, match="end-of-text"):
        Tokenizer.load(tmp_path)


def foreign(directory: Path, model: tokenizers.models.Model, settings: dict[str, object], **extra: object) -> Tokenizer:
    """A directory as others publish them: special tokens inside the model, truncation on, tokens as objects."""
    library = tokenizers.Tokenizer(model)
    library.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    library.decoder = tokenizers.decoders.Metaspace()
    library.add_special_tokens(["<s>", "</s>"])
    library.enable_truncation(4)
    library.enable_padding(length=9)
    directory.mkdir(exist_ok=True)
    library.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    for name, data in extra.items():
        (directory / f"{name}.json").write_text(json.dumps(data))
    return Tokenizer.load(directory)


def test_foreign_unigram_cannot_be_talked_into_its_control_tokens(tmp_path: Path) -> None:
    """In a Unigram model "</s>" is a piece with the best score: marking it special alone would not hide it."""
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)] + [(char, -3.0) for char in "▁abcs</>\n"]
    tok = foreign(
        tmp_path,
        tokenizers.models.Unigram(pieces, unk_id=0),
        {"bos_token": {"content": "<s>"}, "eos_token": {"content": "</s>"}, "pad_token": "<unk>"},
        generation_config={"eos_token_id": [2, 1]},
    )
    assert (tok.bos_id, tok.eos_id, tok.pad_id, tok.start_id, tok.stop_ids) == (1, 2, 0, 1, (1, 2))
    ids = tok.encode("abc</s><s>abc")
    assert [tok.id_to_token(index) for index in ids] == list("▁abc</s><s>abc")
    assert tok.encode_inside("abc") == tok.encode("abc")[1:]  # within a text nothing is put before it
    assert tok.encode("z")[-1] == 0  # unknown text is still unknown
    assert tok.encode_control("abc</s>")[-1] == 2


def test_foreign_word_level_too(tmp_path: Path) -> None:
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, "▁</s>": 3, "▁a": 4}
    model = tokenizers.models.WordLevel(vocabulary, unk_token="<unk>")
    tok = foreign(tmp_path, model, {"eos_token": "</s>"}, generation_config={"eos_token_id": 2})
    assert tok.encode("a </s> a") == [4, 3, 4]
    assert tok.stop_ids == (2,)


def test_foreign_truncation_and_padding_are_switched_off(tmp_path: Path) -> None:
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, "▁a": 3}
    tok = foreign(tmp_path, tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"), {"eos_token": "</s>"})
    assert tok.encode("a a a a a a a a a a a a") == [3] * 12
    assert tok.encode("a") == [3]


def test_named_token_outside_the_vocabulary(bpe: Tokenizer, tmp_path: Path) -> None:
    bpe.save(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | {"eos_token": "<|gone|>"}))
    with pytest.raises(InputError, match="gone"):
        Tokenizer.load(tmp_path)


@pytest.mark.parity
@pytest.mark.parametrize("method", SIZES)
def test_transformers_reads_our_directory(trained: dict[str, Tokenizer], method: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tok = trained[method]
    tok.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert (theirs.eos_token_id, theirs.pad_token_id, theirs.bos_token_id) == (0, 0, None)
    assert len(theirs) == tok.vocab_size
    assert theirs.chat_template == tok.chat_template
    for text in [*corpus_texts(20), "naïve 学習 it's  1999 , ok ?\n\n x"]:
        assert theirs(text)["input_ids"] == tok.encode(text)
        assert theirs.decode(tok.encode(text)) == tok.decode(tok.encode(text), skip_special=False)


def test_a_long_text_is_encoded_as_a_short_one_and_lets_others_run() -> None:
    """A server's other requests must not wait for the encoding of one long text."""
    tok, text = byte_tokenizer(), "ä text, " * 60_000
    expected = tok.encode("ä text, " * 1000) * 60
    turns, done = [0], threading.Event()

    def take_turns() -> None:
        while not done.wait(0.001):
            turns[0] += 1

    other = threading.Thread(target=take_turns)
    other.start()
    try:
        before = turns[0]
        found = tok.encode(text)
        taken = turns[0] - before
    finally:
        done.set()
        other.join()
    assert found == expected
    assert taken > 5, "no other thread ran meanwhile"


def test_a_long_text_that_is_none_is_refused_as_a_short_one() -> None:
    for text in ("\ud800", "\ud800" * 20_000):
        with pytest.raises(InputError, match="text"):
            byte_tokenizer().encode(text)
