"""Tokenizers in and out: same ids for same text, control tokens kept, unknown kinds named."""

from __future__ import annotations

import json
from typing import Any

import gguf_samples as samples
import pytest
import tokenizers

from tutelage.interchange.gguf.pretokenizers import PRE_TOKENIZERS, name_of, to_definition
from tutelage.interchange.gguf.tokenizer import WHOLE, read_tokenizer
from tutelage.interchange.gguf.tokenizer_writer import write_tokenizer
from tutelage.store.errors import DamagedError, InputError
from tutelage.tokenizer.tokenizer import Tokenizer

TEXTS = [
    "Return the list of all files.",
    "  two spaces, a tab\tand\n\n\nlines   \n",
    "don't DON'T we'll 12345 3.14 $x<=y",
    "naïve café 学習 🎉 данные",
    "<|im_end|> <s> </s> are only text here",
    "",
    " x",
]


def without_whole(metadata: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key != WHOLE}


@pytest.mark.parametrize("split", ["gpt2", "cl100k", "qwen2", "o200k"])
@pytest.mark.parametrize("whole", [True, False])
def test_our_tokenizers_come_back(split: str, whole: bool) -> None:
    tok = samples.bpe_tokenizer(split)
    metadata = write_tokenizer(tok, tok.vocab_size + 6)
    back = read_tokenizer(metadata if whole else without_whole(metadata)).build()
    for text in TEXTS:
        assert back.encode(text) == tok.encode(text), text
        assert back.decode(tok.encode(text)) == text
    assert (back.eos_id, back.pad_id, back.bos_id, back.stop_ids) == (tok.eos_id, tok.pad_id, None, tok.stop_ids)
    assert back.control_ids == tok.control_ids
    assert back.chat_template == tok.chat_template
    assert (back.vocab_size, len(metadata["tokenizer.ggml.tokens"])) == (tok.vocab_size, tok.vocab_size + 6)


def test_names_of_our_splits_are_llama_cpps() -> None:
    found = {
        split: write_tokenizer(samples.bpe_tokenizer(split), 330)["tokenizer.ggml.pre"]
        for split in ("gpt2", "cl100k", "qwen2", "o200k")
    }
    assert found == {"gpt2": "gpt-2", "cl100k": "smaug-bpe", "qwen2": "qwen2", "o200k": "gpt-4o"}


@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece_comes_back_from_its_scores(prefix: bool) -> None:
    tok = samples.sentencepiece_tokenizer(prefix)
    metadata = write_tokenizer(tok, tok.vocab_size)
    assert metadata["tokenizer.ggml.model"] == "llama"
    assert metadata["tokenizer.ggml.add_space_prefix"] is prefix
    assert metadata["tokenizer.ggml.token_type"][:4] == [2, 3, 3, 6]
    parts = read_tokenizer(without_whole(metadata))
    back = parts.build()
    for text in TEXTS:
        assert back.encode(text) == tok.encode(text), text
        assert back.decode(back.encode(text)) == tok.decode(tok.encode(text))
    assert (back.bos_id, back.eos_id) == (1, 2)
    assert parts.settings["add_bos_token"] is True and parts.settings["add_eos_token"] is False
    with_ends = tokenizers.Tokenizer.from_str(parts.definition).encode("Return")
    assert with_ends.ids == [1, *tok.encode("Return")]


def test_flags_for_bos_and_eos_are_honoured() -> None:
    metadata = without_whole(write_tokenizer(samples.sentencepiece_tokenizer(), 400))
    for add_bos, add_eos in ((False, False), (False, True), (True, True)):
        metadata |= {"tokenizer.ggml.add_bos_token": add_bos, "tokenizer.ggml.add_eos_token": add_eos}
        parts = read_tokenizer(metadata)
        assert (parts.settings["add_bos_token"], parts.settings["add_eos_token"]) == (add_bos, add_eos)
        ids = tokenizers.Tokenizer.from_str(parts.definition).encode("a").ids
        assert (ids[0] == 1, ids[-1] == 2) == (add_bos, add_eos)


def byte_level(**more: Any) -> dict[str, Any]:
    tok = samples.bpe_tokenizer()
    metadata = without_whole(write_tokenizer(tok, tok.vocab_size))
    return {**metadata, **{f"tokenizer.ggml.{key}": value for key, value in more.items()}}


@pytest.mark.parametrize("name", sorted(PRE_TOKENIZERS))
def test_every_pre_tokenizer_can_be_read(name: str) -> None:
    back = read_tokenizer(byte_level(pre=name)).build()
    for text in TEXTS:
        assert back.decode(back.encode(text)) == text


def test_a_file_that_names_none_gets_llama_cpps_default() -> None:
    metadata = byte_level()
    del metadata["tokenizer.ggml.pre"]
    parts = read_tokenizer(metadata)
    assert parts.definition == read_tokenizer(byte_level(pre="default")).definition


CUTS = {
    "gpt-2": ["It", "'s", "ĠOK", ",", "Ġ", "Ġ2024", "!!", "Ċ", "Ċ", "DON", "'", "T"],
    "smollm": ["It", "'s", "ĠOK", ",", "ĠĠ", "2", "0", "2", "4", "!!", "Ċ", "Ċ", "DON", "'", "T"],
    "qwen2": ["It", "'s", "ĠOK", ",", "Ġ", "Ġ", "2", "0", "2", "4", "!!ĊĊ", "DON", "'T"],
    "llama-bpe": ["It", "'s", "ĠOK", ",", "Ġ", "Ġ", "202", "4", "!!ĊĊ", "DON", "'T"],
    "gpt-4o": ["It's", "ĠOK", ",", "Ġ", "Ġ", "202", "4", "!!ĊĊ", "DON'T"],
}


@pytest.mark.parametrize("name", CUTS)
def test_how_text_is_cut(name: str) -> None:
    definition = json.loads(read_tokenizer(byte_level(pre=name)).definition)
    library = tokenizers.Tokenizer.from_str(json.dumps({**definition, "normalizer": None}))
    pieces = [piece for piece, _ in library.pre_tokenizer.pre_tokenize_str("It's OK,  2024!!\n\nDON'T")]
    assert pieces == CUTS[name]


@pytest.mark.parametrize("name", sorted(PRE_TOKENIZERS))
def test_definitions_lead_back_to_a_name_that_cuts_alike(name: str) -> None:
    pre = PRE_TOKENIZERS[name]
    assert PRE_TOKENIZERS[name_of(to_definition(pre), pre.ignore_merges)].patterns == pre.patterns


def test_smollm_cuts_as_its_published_definition() -> None:
    published = tokenizers.pre_tokenizers.Sequence(
        [tokenizers.pre_tokenizers.Digits(True), tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    ours = tokenizers.Tokenizer.from_str(read_tokenizer(byte_level(pre="smollm")).definition).pre_tokenizer
    for text in [*TEXTS, "a  1 \n 2\t\t3x  ", "½ ٣ Ⅻ a1b22"]:
        assert [piece for piece, _ in ours.pre_tokenize_str(text)] == [
            piece for piece, _ in published.pre_tokenize_str(text)
        ]


def test_published_ways_to_write_a_definition_are_recognised() -> None:
    gpt2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    assert name_of(gpt2, False) == "gpt-2"
    assert name_of({"type": "Sequence", "pretokenizers": [digits, gpt2]}, False) == "smollm"
    for other in ({**gpt2, "add_prefix_space": True}, {"type": "Whitespace"}, digits):
        with pytest.raises(InputError, match="no pre-tokenizer"):
            name_of(other, False)


def test_unknown_pre_tokenizer_is_named() -> None:
    with pytest.raises(InputError, match="unknown pre-tokenizer type 'kimi-k2'"):
        read_tokenizer(byte_level(pre="kimi-k2"))


def test_unknown_kind_is_named() -> None:
    with pytest.raises(InputError, match="'t5' are not supported"):
        read_tokenizer(byte_level(model="t5"))
    with pytest.raises(InputError, match="None are not supported"):
        read_tokenizer({})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": None}, "tokens' is missing or not a list of str"),
        ({"tokens": [1, 2]}, "tokens' is missing or not a list of str"),
        ({"tokens": []}, "0 tokens"),
        ({"token_type": [1]}, "1 token types"),
        ({"merges": None}, "merges' is missing"),
        ({"merges": ["zz yy"]}, "merge 0 of the tokenizer, 'zz yy'"),
        ({"merges": ["nospace"]}, "merge 0"),
        ({"model": "llama"}, "scores' is missing"),
        ({"model": "llama", "scores": [0.0]}, "1 scores"),
    ],
)
def test_damaged_tokenizers(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DamagedError, match=message):
        read_tokenizer(byte_level(**change))


def test_a_token_that_stands_twice_is_noticed() -> None:
    metadata = byte_level()
    metadata["tokenizer.ggml.tokens"] = [*metadata["tokenizer.ggml.tokens"][:-1], "!"]
    with pytest.raises(DamagedError, match="duplicate token '!' in the vocabulary"):
        read_tokenizer(metadata)


def test_a_very_long_token_takes_no_time() -> None:
    metadata = without_whole(write_tokenizer(samples.sentencepiece_tokenizer(), 400))
    tokens = metadata["tokenizer.ggml.tokens"]
    kinds = metadata["tokenizer.ggml.token_type"]
    place = kinds.index(1)
    metadata["tokenizer.ggml.tokens"] = [*tokens[:place], "x" * 10**6, *tokens[place + 1 :]]
    with pytest.raises(DamagedError, match="1000000 characters"):
        read_tokenizer(metadata)


def test_a_definition_that_differs_from_the_token_list_is_not_believed() -> None:
    tok = samples.bpe_tokenizer()
    metadata = write_tokenizer(tok, tok.vocab_size)
    data = json.loads(metadata[WHOLE])
    tame = [{**token, "special": False} for token in data["added_tokens"]]  # control tokens reachable from text
    moved = {**data["model"]["vocab"], "!": 9, '"': 3}
    for other in ({**data, "added_tokens": tame}, {**data, "model": {**data["model"], "vocab": moved}}):
        parts = read_tokenizer({**metadata, WHOLE: json.dumps(other)})
        assert parts.definition != json.dumps(other)
        assert parts.build().encode("<|im_end|>!") == tok.encode("<|im_end|>!")
    for broken in ("{", "[]", '{"model": 1}', "[" * 100_000):
        assert read_tokenizer({**metadata, WHOLE: broken}).build().encode("!") == tok.encode("!")


def test_turns_end_at_tokens_known_by_their_text() -> None:
    tok = samples.bpe_tokenizer()
    metadata = {key: value for key, value in byte_level().items() if "eot" not in key and "chat" not in key}
    assert read_tokenizer(metadata).build().stop_ids == (0, tok.token_to_id("<|im_end|>"))


def test_tokenizers_llama_cpp_cannot_run_are_refused() -> None:
    library = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "<end>": 1}, unk_token="a"))
    library.add_special_tokens(["<end>"])
    with pytest.raises(InputError, match="WordLevel"):
        write_tokenizer(Tokenizer(library.to_str(), {"eos_token": "<end>"}), 2)
    plain = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0, "<end>": 1}, []))
    plain.add_special_tokens(["<end>"])
    with pytest.raises(InputError, match="cannot be written"):
        write_tokenizer(Tokenizer(plain.to_str(), {"eos_token": "<end>"}), 2)
