from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from small_tokenizers import LOSSY, SIZES, corpus_texts, small
from tokenizers import Tokenizer as Library

from tutelage.store.errors import ConfigError, InputError
from tutelage.store.events import EventLog
from tutelage.tokenizer.config import SPECIAL_TOKENS, TokenizerConfig
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.tokenizer.train import LONGEST_PIECE, SPLITS, train
from tutelage.tokenizer.unigram import _expected, _lattice, train_unigram
from tutelage.tokenizer.vocabulary import byte_characters


def files(tok: Tokenizer, directory: Path) -> dict[str, bytes]:
    tok.save(directory)
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


@pytest.mark.parametrize("method", SIZES)
def test_control_tokens_have_the_first_ids(trained: dict[str, Tokenizer], method: str) -> None:
    tok = trained[method]
    assert [tok.token_to_id(token) for token in SPECIAL_TOKENS] == [0, 1, 2]
    assert (tok.eos_id, tok.pad_id, tok.bos_id, tok.start_id, tok.stop_ids) == (0, 0, None, 0, (0, 2))


@pytest.mark.parametrize("method", SIZES)
def test_vocabulary_is_as_large_as_asked_and_has_no_gap(trained: dict[str, Tokenizer], method: str) -> None:
    tok = trained[method]
    if method == "char":
        assert 259 < tok.vocab_size <= SIZES[method]
    else:
        assert tok.vocab_size == SIZES[method]
    tokens = [tok.id_to_token(index) for index in range(tok.vocab_size)]
    assert len(set(tokens)) == tok.vocab_size


@pytest.mark.parametrize("method", sorted(set(SIZES) - {"byte"}))  # bytes learn nothing of it
def test_text_that_is_no_unicode_is_named(method: str) -> None:
    with pytest.raises(InputError, match="text 1 to train on is not valid Unicode: lone surrogate at 3"):
        train(TokenizerConfig(method=method, vocab_size=SIZES[method]), ["fine", "is \ud800"], EventLog())


HARD = {
    "control tokens": "a<|endoftext|>b <|im_start|>user hi<|im_end|> ",
    "names of bytes and pieces": "<0x41><unk>##ing ▁the Ġx <s></s> ",
    "controls": "\x00\x01\x1b\r\n\t\u2028\ufeff\r ",
    "one character": "a",
    "Thai": "ภาษาไทยเป็นภาษา ",
    "Chinese": "日本語の学習は楽しい。中文也很好",
    "right to left": "العربية لغة جميلة עברית שפה ",
    "emoji": "😀👩\u200d👩\u200d👧🏳\ufe0f\u200d🌈🇩🇪 ",
    "digits": "1234567890 3.14 ",
}


@pytest.mark.parametrize("method", sorted(set(SIZES) - set(LOSSY)))
@pytest.mark.parametrize("kind", HARD)
def test_text_of_one_kind_alone_and_a_vocabulary_it_cannot_fill(kind: str, method: str) -> None:
    """Whatever it learned from, any text comes back, and none of it is a control token."""
    tok = train(TokenizerConfig(method=method, vocab_size=SIZES[method] + 900), [HARD[kind] * 40], EventLog())
    assert tok.vocab_size < SIZES[method] + 900
    theirs = Library.from_str(tok.definition)
    for text in HARD.values():
        ids = tok.encode(text)
        assert tok.decode(ids) == text and not tok.control_ids & set(ids)
        if "<|" not in text:
            assert theirs.encode(text).ids == ids


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    # In one process hash maps may agree by chance; each run here has its own hash seeds.
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from small_tokenizers import SIZES, small\n"
        "for method in SIZES: small(method).save(sys.argv[2] + '/' + method)\n"
    )
    for name, hash_seed in (("a", "1"), ("b", "2")):
        subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path / name)],
            check=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    for method in SIZES:
        first = {path.name: path.read_bytes() for path in (tmp_path / "a" / method).iterdir()}
        second = {path.name: path.read_bytes() for path in (tmp_path / "b" / method).iterdir()}
        assert first == second and len(first) == 3, method


def test_golden_bpe() -> None:
    """Merges by hand: "ab" 4 times, then "abc" 3 times; split into words, so none crosses a line end."""
    config = TokenizerConfig.parse({"vocab_size": 261, "split": "gpt2"})
    tok = train(config, ["abc\nabc\nabc ab"], EventLog())
    assert [tok.id_to_token(index) for index in (259, 260)] == ["ab", "abc"]
    alphabet = sorted(byte_characters().values())
    assert [tok.id_to_token(index) for index in range(3, 259)] == alphabet
    assert tok.encode("abx") == [259, 3 + alphabet.index("x")]


def test_qwen2_split_takes_digits_one_by_one_and_gpt2_whole() -> None:
    texts = ["1999 1999 1999 1999 " * 20]
    whole = train(TokenizerConfig.parse({"vocab_size": 270, "split": "gpt2"}), texts, EventLog())
    single = train(TokenizerConfig.parse({"vocab_size": 270, "split": "qwen2"}), texts, EventLog())
    assert len(whole.encode("1999")) == 1
    assert len(single.encode("1999")) == 4


def test_a_pattern_of_ones_own_cuts_and_loses_nothing() -> None:
    texts = ["ab-ab-ab cd-ab\n" * 20]
    tok = train(TokenizerConfig.parse({"vocab_size": 280, "pattern": "[a-z]+"}), texts, EventLog())
    assert [tok.token_bytes(index) for index in tok.encode("ab-cd")] == [b"ab", b"-", b"cd"]
    assert tok.decode(tok.encode("AB  ab-\n☃")) == "AB  ab-\n☃"


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_is_lossless(split: str) -> None:
    tok = small("bpe", split=split)
    text = "I'LL pay 1234.50 €\r\n\t  in  Tōkyō\u2028— don't\n\n\nask 👩‍👩‍👧 "
    assert tok.decode(tok.encode(text)) == text


def test_split_cuts_as_published() -> None:
    """Known pre-token boundaries of the cl100k family: contractions, leading space, up to three digits, newlines."""
    from tokenizers import Regex, pre_tokenizers

    def cut(split: str, text: str) -> list[str]:
        splitter = pre_tokenizers.Split(Regex(SPLITS[split]), behavior="isolated")  # type: ignore[index]
        return [piece for piece, _ in splitter.pre_tokenize_str(text)]

    text = "I'll  buy 12345 cats!!\n\nYes"
    assert cut("gpt2", text) == ["I", "'ll", " ", " buy", " 12345", " cats", "!!", "\n", "\n", "Yes"]
    assert cut("cl100k", text) == ["I", "'ll", " ", " buy", " ", "123", "45", " cats", "!!\n\n", "Yes"]
    assert cut("digits2", text) == ["I", "'ll", " ", " buy", " ", "12", "34", "5", " cats", "!!\n\n", "Yes"]
    assert cut("qwen2", text) == ["I", "'ll", " ", " buy", " ", *"12345", " cats", "!!\n\n", "Yes"]
    assert cut("o200k", text) == ["I'll", " ", " buy", " ", "123", "45", " cats", "!!\n\n", "Yes"]


def test_unigram_expected_counts_by_enumeration() -> None:
    """Forward-backward against the sum over all segmentations of a word, written out."""
    words, pieces = ["abab", "ba"], ["a", "b", "ab", "ba", "bab"]
    logp = np.log(np.array([0.3, 0.2, 0.25, 0.15, 0.1]))
    weights = np.array([3.0, 2.0])

    def segmentations(word: str) -> list[list[str]]:
        if not word:
            return [[]]
        return [[p, *rest] for p in pieces if word.startswith(p) for rest in segmentations(word[len(p) :])]

    wanted = np.zeros(5)
    for word, weight in zip(words, weights, strict=True):
        ways = segmentations(word)
        chances = np.array([np.exp(sum(logp[pieces.index(p)] for p in way)) for way in ways])
        for way, chance in zip(ways, chances / chances.sum(), strict=True):
            for piece in way:
                wanted[pieces.index(piece)] += weight * chance
    index_of = {piece: index for index, piece in enumerate(pieces)}
    np.testing.assert_allclose(_expected(_lattice(words, index_of), weights, logp), wanted, rtol=1e-12)


def test_unigram_finds_the_words_and_keeps_the_alphabet() -> None:
    counts = Counter({"hello": 50, "help": 30, "world": 40, "q": 1})
    scored = train_unigram(counts, sorted(set("helowrdpq")), 14, lambda done, total: None)
    found = {piece for piece, _ in scored}
    assert len(scored) == 14 and set("helowrdpq") <= found and {"hello", "world", "help"} <= found
    assert [score for _, score in scored] == sorted((score for _, score in scored), reverse=True)
    assert np.isclose(sum(np.exp(score) for _, score in scored), 1, atol=0.02)


def test_small_text_gives_fewer_tokens_and_says_so() -> None:
    events: list[dict[str, object]] = []
    tok = train(TokenizerConfig(vocab_size=2048), ["hello hello"], EventLog(listeners=(events.append,)))
    assert tok.vocab_size < 2048
    assert any(event["event"] == "warning" and "of 2048 requested" in str(event["message"]) for event in events)


@pytest.mark.parametrize("method", SIZES)
@pytest.mark.parametrize("texts", [[], [""]])
def test_no_text_is_an_error(method: str, texts: list[str]) -> None:
    with pytest.raises(InputError, match="no text"):
        train(TokenizerConfig.parse({"method": method}).sized(1000), texts, EventLog())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"method": "byte", "vocab_size": 258}, "at least 259"),
        ({"method": "bpe", "vocab_size": 100}, "at least 260"),
        ({"method": "unigram", "vocab_size": -1}, "greater than or equal"),
        ({"method": "char", "split": "gpt2"}, "split"),
        ({"method": "bqe"}, "bqe"),
        ({"split": "gpt2", "pattern": "a"}, "a custom pattern replaces"),
        ({"pattern": "("}, "not a valid regular expression"),
        ({"method": "word", "pattern": "a"}, "leave them out"),
        ({"vocabsize": 512}, "vocab_size"),
        ({"sample_megabytes": 0}, "greater than 0"),
    ],
)
def test_contradictory_configs_are_refused(data: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        TokenizerConfig.parse(data)


@pytest.mark.parametrize(("megabytes", "size"), [(0.01, 512), (0.3, 1024), (1.1, 2048), (6.8, 8192), (1000, 8192)])
def test_the_text_decides_how_large_a_vocabulary_it_can_teach(megabytes: float, size: int) -> None:
    config = TokenizerConfig().sized(1e6 * megabytes)
    assert config.vocab_size == size and config.sized(1) == config
    assert TokenizerConfig(vocab_size=300).sized(1e6 * megabytes).vocab_size == 300
    assert TokenizerConfig(method="byte").sized(1e6 * megabytes).vocab_size == 259


@pytest.mark.parametrize("method", [method for method in SIZES if method != "byte"])
def test_a_vocabulary_whose_size_is_still_to_be_chosen_is_not_trained(method: str) -> None:
    with pytest.raises(ConfigError, match="depends on the text"):
        train(TokenizerConfig.parse({"method": method}), ["hello"], EventLog())


@pytest.mark.parametrize("method", SIZES)
def test_config_survives_a_round_trip(method: str) -> None:
    config = TokenizerConfig.parse({"method": method})
    assert TokenizerConfig.parse(json.loads(json.dumps(config.plain()))) == config
    assert (config.chosen_split == "qwen2") == (method in ("bpe", "unigram", "bpe_fallback", "superbpe"))


def test_corpus_is_what_the_goldens_were_made_from() -> None:
    assert corpus_texts(2) == corpus_texts(300)[:2]


@pytest.mark.parametrize("method", ["bpe", "wordpiece", "bpe_fallback"])
def test_training_learns_from_a_long_piece_in_bounded_parts(method: str) -> None:
    config = TokenizerConfig(method=method, vocab_size=300)
    line = "".join(chr(97 + (index * index + index // 7) % 26) for index in range(5 * LONGEST_PIECE))
    parts = [line[start : start + LONGEST_PIECE] for start in range(0, len(line), LONGEST_PIECE)]
    tok = train(config, [line], EventLog())
    of_parts = train(config, parts, EventLog())
    assert tok.definition == of_parts.definition
    if method != "wordpiece":
        assert tok.decode(tok.encode(line)) == line
