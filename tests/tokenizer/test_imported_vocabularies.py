"""Vocabularies from elsewhere: the same ids as their own library gives, and clear words for what is none."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path

import pytest
from small_tokenizers import corpus_texts, small

from tutelage.store.errors import InputError
from tutelage.tokenizer.config import SPECIAL_TOKENS, Split, TokenizerConfig
from tutelage.tokenizer.forecast import expected_size, forecast
from tutelage.tokenizer.imported import import_vocabulary
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.tokenizer.vocabulary import byte_characters

TEXTS = [*corpus_texts(20), "naïve  café\n\n 1999 学習 ☃ it's", "", " ", "a  b", "Return the list."]

HARD = [
    "a\r\nb\r\n\r\nc", "\tx", "x  ", "  x", "\x00a\x1b", "a\u200bb\u00ad", "e\u0301 ﬁ ㍿", "\u3000全角ＡＢＣ①",
    "▁a ▁", "▁", "▁ a▁ b",
    "ภาษาไทย", "日本語の学習。中文", "العربية עברית", "👩\u200d👧🏳\ufe0f\u200d🌈🇩🇪",
    "<unk>", "a<unk>b", "<s>a</s>", "<0x41>",
]  # fmt: skip


def imported(source: Path, **more: object) -> Tokenizer:
    return import_vocabulary(TokenizerConfig.parse({"source": str(source), **more}))


def ranks_of(tok: Tokenizer) -> dict[bytes, int]:
    """The tokens of one of our byte-level vocabularies, single bytes first, as tiktoken ranks them."""
    byte_of = {char: byte for byte, char in byte_characters().items()}
    names = sorted((index, tok.id_to_token(index)) for index in range(3, tok.vocab_size))
    return {bytes(byte_of[char] for char in name): rank for rank, (_, name) in enumerate(names)}


def write_tiktoken(path: Path, ranks: dict[bytes, int]) -> Path:
    path.write_bytes(b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items()))
    return path


def field(number: int, value: bytes | int | float) -> bytes:
    """One field of a protocol buffer."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3) + varint(value)


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def sentencepiece(pieces: list[tuple[str, float, int]], kind: int, byte_fallback: bool = False) -> bytes:
    """A SentencePiece model of (piece, score, type); without a table of characters that are replaced."""
    made = b"".join(
        field(1, field(1, text.encode()) + field(2, score) + field(3, of_kind)) for text, score, of_kind in pieces
    )
    return made + field(2, field(3, kind) + field(35, int(byte_fallback))) + field(3, field(1, b"identity"))


BASE = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]


def test_a_tiktoken_vocabulary_cuts_as_the_one_it_was_made_of(tmp_path: Path) -> None:
    tok = small("bpe", split="cl100k")
    ranks = ranks_of(tok)
    again = imported(write_tiktoken(tmp_path / "own.tiktoken", ranks), split="cl100k")
    for text in TEXTS:
        assert again.encode(text) == [index - 3 for index in tok.encode(text)]
        assert again.decode(again.encode(text)) == text
    assert [again.token_to_id(name) for name in SPECIAL_TOKENS] == [len(ranks), len(ranks) + 1, len(ranks) + 2]
    with pytest.raises(InputError, match="no pattern for splitting words"):
        imported(tmp_path / "own.tiktoken")


def test_ranks_that_a_tiktoken_file_leaves_out_are_nobodys(tmp_path: Path) -> None:
    """The control tokens come behind the highest rank, and have no id of another token."""
    ranks = {token: rank + 7 * (rank >= 300) for token, rank in ranks_of(small("bpe", split="cl100k")).items()}
    tok = imported(write_tiktoken(tmp_path / "own.tiktoken", ranks), split="cl100k")
    assert [tok.token_to_id(name) for name in SPECIAL_TOKENS] == [max(ranks.values()) + add for add in (1, 2, 3)]
    assert {rank: tok.token_bytes(rank) for rank in ranks.values()} == {rank: token for token, rank in ranks.items()}
    assert all(tok.token_bytes(rank) == b"" for rank in range(300, 307))
    for text in TEXTS:
        assert tok.decode(tok.encode(text)) == text and not set(range(300, 307)) & set(tok.encode(text))


@pytest.mark.parity
@pytest.mark.parametrize("split", ["gpt2", "cl100k", "o200k"])
def test_tiktoken_gives_the_same_ids(split: Split, tmp_path: Path) -> None:
    tiktoken = pytest.importorskip("tiktoken")
    from tutelage.tokenizer.building import SPLITS

    ranks = ranks_of(small("bpe", split=split))
    theirs = tiktoken.Encoding("own", pat_str=SPLITS[split], mergeable_ranks=ranks, special_tokens={})
    ours = imported(write_tiktoken(tmp_path / "own.tiktoken", ranks), split=split)
    assert [ours.encode(text) for text in TEXTS + HARD] == [theirs.encode(text) for text in TEXTS + HARD]


def test_a_unigram_model_of_sentencepiece(tmp_path: Path) -> None:
    pieces = [("▁the", -1.0, 1), ("▁", -2.0, 1), ("th", -3.0, 1), ("e", -2.5, 1), ("t", -4.0, 1), ("h", -4.0, 1)]
    (tmp_path / "a.model").write_bytes(sentencepiece([*BASE, *pieces], 1))
    tok = imported(tmp_path / "a.model")
    names = [tok.id_to_token(index) for index in tok.encode("the  het")]
    assert names == ["▁the", "▁", "h", "e", "t"]
    assert tok.decode(tok.encode("the het")) == "the het"
    assert tok.encode("q") == [tok.token_to_id("▁"), 0]
    assert (tok.special_tokens["bos_token"], tok.special_tokens["eos_token"]) == ("<s>", "</s>")
    assert tok.id_to_token(9) == "<|im_start|>"


def test_a_bpe_model_of_sentencepiece_with_bytes(tmp_path: Path) -> None:
    bytes_ = [(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)]
    merged = [("he", -0.0, 1), ("▁t", -1.0, 1), ("▁the", -2.0, 1)]
    single = [("▁", -3.0, 1), ("t", -4.0, 1), ("h", -5.0, 1), ("e", -6.0, 1)]
    (tmp_path / "a.model").write_bytes(sentencepiece([*BASE, *bytes_, *merged, *single], 2, True))
    tok = imported(tmp_path / "a.model")
    assert [tok.id_to_token(index) for index in tok.encode("the teh")] == ["▁the", "▁t", "e", "h"]
    assert [tok.token_bytes(index) for index in tok.encode("é")] == [b" ", b"\xc3", b"\xa9"]
    assert tok.decode(tok.encode("the é")) == "the é"


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["unigram", "bpe", "char"])
@pytest.mark.parametrize("rule", ["identity", "nmt_nfkc"])
def test_sentencepiece_gives_the_same_ids(kind: str, rule: str, tmp_path: Path) -> None:
    library = pytest.importorskip("sentencepiece")
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(text.strip() for text in corpus_texts()), model_prefix=str(tmp_path / "a"),
        vocab_size=60 if kind == "char" else 350, model_type=kind, normalization_rule_name=rule,
        byte_fallback=kind == "bpe", hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    theirs = library.SentencePieceProcessor(model_file=str(tmp_path / "a.model"))
    ours = imported(tmp_path / "a.model")
    for text in TEXTS + HARD:
        assert ours.encode(text) == theirs.encode(text), text
        if text in TEXTS and 0 not in ours.encode(text):  # unknown text is shown in another way
            assert ours.decode(ours.encode(text)) == theirs.decode(theirs.encode(text)), text


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["unigram", "bpe", "char"])
@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize(("spaces", "rule"), [(True, "identity"), (False, "nmt_nfkc")])
def test_symbols_of_the_user_stand_as_in_sentencepiece(
    kind: str, prefix: bool, spaces: bool, rule: str, tmp_path: Path
) -> None:
    """Found in the raw text, wherever they stand; what is around them is no new text."""
    library = pytest.importorskip("sentencepiece")
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(text.strip() for text in corpus_texts()), model_prefix=str(tmp_path / "a"),
        vocab_size=350, model_type=kind, normalization_rule_name=rule,
        user_defined_symbols=["<T>", "<Tool>", "e\u0301"], control_symbols=["<sep>"],
        add_dummy_prefix=prefix, remove_extra_whitespaces=not spaces, byte_fallback=True,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    theirs = library.SentencePieceProcessor(model_file=str(tmp_path / "a.model"))
    ours = imported(tmp_path / "a.model")
    marked = ["<T>", "<T>a", "a<T>", " <T> <T>", "x <Tool>b", "<T><Tool>ol>", "Return<T>the", "<sep><T", "cafe\u0301"]
    for text in TEXTS + HARD + marked:
        assert ours.encode(text) == theirs.encode(text), text
        if text in TEXTS + marked:
            assert ours.decode(ours.encode(text)) == theirs.decode(theirs.encode(text)), text
    (symbol,) = (index for index in ours.encode("<T>") if theirs.id_to_piece(index) == "<T>")
    assert ours.token_bytes(symbol) == b"<T>"


def test_a_tokenizer_json_keeps_its_ids(bpe: Tokenizer, tmp_path: Path) -> None:
    bpe.save(tmp_path)
    for source in (tmp_path, tmp_path / "tokenizer.json"):
        again = imported(source)
        assert [again.encode(text) for text in TEXTS] == [bpe.encode(text) for text in TEXTS]
        assert again.vocab_size == bpe.vocab_size
        again.save(tmp_path / "again")
        assert Tokenizer.load(tmp_path / "again").encode(TEXTS[0]) == bpe.encode(TEXTS[0])


def test_a_vocabulary_from_elsewhere_has_its_own_size(tmp_path: Path) -> None:
    tok = small("bpe", split="cl100k")
    source = str(write_tiktoken(tmp_path / "own.tiktoken", ranks_of(tok)))
    config = TokenizerConfig.parse({"source": source, "split": "cl100k"})
    assert config.sized(1e9) == config
    assert expected_size(config) == tok.vocab_size
    assert expected_size(TokenizerConfig(), 1e5) == 512
    facts = forecast(config, {}, None).facts  # type: ignore[arg-type]  # without a corpus no machine is asked
    assert facts["vocab_size"] == tok.vocab_size


def test_what_is_no_vocabulary_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.model").write_bytes(b"no protocol buffer at all")
    (tmp_path / "word.model").write_bytes(sentencepiece([*BASE, ("▁the", -1.0, 1)], 3))
    (tmp_path / "a.tiktoken").write_text("!! 1\n")
    (tmp_path / "b.tiktoken").write_bytes(base64.b64encode(b"a") + b" 0\n")
    whole = "".join(f"{base64.b64encode(bytes([byte])).decode()} {byte}\n" for byte in range(256))
    for name, line in (("twice", "YWI= 7"), ("below", "YWI= -1"), ("again", "YQ== 300"), ("far", "YWI= 70000")):
        (tmp_path / f"{name}.tiktoken").write_text(f"{whole}{line}\n")
    (tmp_path / "a.bin").write_text("")
    for name, said in (
        ("a.model", "not a SentencePiece model"),
        ("word.model", "whole words"),
        ("a.tiktoken", "line 1"),
        ("b.tiktoken", "lacks 255 of the 256 bytes"),
        ("twice.tiktoken", "line 257: the rank"),
        ("below.tiktoken", "line 257: the rank"),
        ("again.tiktoken", "line 257: the rank"),
        ("far.tiktoken", "lacks 69,744 ranks"),
        ("a.bin", "not a vocabulary"),
        ("none", "does not exist"),
    ):
        with pytest.raises(InputError, match=said):
            imported(tmp_path / name, **({"split": "gpt2"} if name.endswith("tiktoken") else {}))


def test_what_a_tokenizer_json_cannot_be_used_for_is_said(bpe: Tokenizer, tmp_path: Path) -> None:
    data = json.loads(bpe.definition)
    random_merges = data | {"model": data["model"] | {"dropout": 0.1}}
    moved = {token: index + 7 * (index >= 300) for token, index in data["model"]["vocab"].items()}
    gaps = data | {"added_tokens": [], "model": data["model"] | {"vocab": moved}}
    for token in SPECIAL_TOKENS:
        del moved[token]
    nothing = data | {"pre_tokenizer": {"type": "WhitespaceSplit"}, "added_tokens": [],
                      "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "<unk>"}}  # fmt: skip
    path = tmp_path / "tokenizer.json"
    for definition, said in ((random_merges, "merges at random"), (gaps, "gaps in its ids")):
        path.write_text(json.dumps(definition))
        with pytest.raises(InputError, match=said):
            imported(path)
    path.write_text(json.dumps(nothing))
    with pytest.raises(InputError, match="cannot be encoded"):
        imported(path).encode("b")
