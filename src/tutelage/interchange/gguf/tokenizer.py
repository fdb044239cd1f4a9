"""Read the tokenizer from the metadata of a GGUF file.

Two types: `gpt2`, byte-level BPE with merges, and `llama`, SentencePiece BPE with scores and byte tokens. A file may
also contain the complete tokenizer.json (`tokenizer.huggingface.json`, part of GGUF's specification); ours do, so that
a round trip is lossless.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tutelage.interchange.gguf.pretokenizers import pre_tokenizer_named, to_definition
from tutelage.store.errors import DamagedError, InputError
from tutelage.tokenizer.tokenizer import Tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
WHOLE = "tokenizer.huggingface.json"
SPACE = "▁"
_LONGEST_PIECE = 512  # recovering merges is quadratic in it; SentencePiece's default limit is 16
_ENDS = frozenset(
    ("<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|return|>", "<|call|>")
) | {"<end_of_turn>"}
"""Control tokens that always end a turn; llama.cpp also stops at them by default."""
IDS = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}


@dataclass(frozen=True)
class TokenizerParts:
    """The arguments of `Tokenizer(definition, settings, chat_template, stop_ids)`."""

    definition: str
    settings: dict[str, Any]
    chat_template: str | None
    stop_ids: tuple[int, ...]

    def build(self) -> Tokenizer:
        return Tokenizer(self.definition, self.settings, self.chat_template, self.stop_ids)


def read_tokenizer(metadata: Mapping[str, Any]) -> TokenizerParts:
    """The tokenizer of a GGUF file. Raises InputError for an unsupported type, DamagedError for broken metadata."""
    model = metadata.get("tokenizer.ggml.model")
    if model not in ("gpt2", "llama"):
        raise InputError(f"tokenizers of GGUF type {model!r} are not supported", hint="supported: gpt2, llama")
    tokens = _list(metadata, "tokens", str)
    kinds = _list(metadata, "token_type", int, [NORMAL] * len(tokens))
    if len(kinds) != len(tokens) or not tokens:
        raise DamagedError(f"the tokenizer has {len(tokens)} tokens and {len(kinds)} token types")
    ids = {
        name: index
        for name, key in {**IDS, "eot": "eot", "eom": "eom"}.items()
        if type(index := metadata.get(f"tokenizer.ggml.{key}_token_id")) is int and 0 <= index < len(tokens)
    }
    if model == "llama":
        ids = {"bos_token": 1, "eos_token": 2, "unk_token": 0} | ids  # llama.cpp's defaults for this type
        if len(tokens) < 3:
            raise DamagedError("the tokenizer has fewer than three tokens")
        body, adds_bos = _sentencepiece(metadata, tokens, kinds, ids["unk_token"]), True
    else:
        body, adds_bos = _byte_level(metadata, tokens, kinds)
    add = {
        "bos": bool(metadata.get("tokenizer.ggml.add_bos_token", adds_bos)) and "bos_token" in ids,
        "eos": bool(metadata.get("tokenizer.ggml.add_eos_token", False)) and "eos_token" in ids,
    }
    ends = [(tokens[ids[f"{end}_token"]], ids[f"{end}_token"]) if add[end] else None for end in ("bos", "eos")]
    definition = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added(tokens, kinds),
        "normalizer": body["normalizer"],
        "pre_tokenizer": body["pre_tokenizer"],
        "post_processor": _post_processor(*ends),
        "decoder": body["decoder"],
        "model": body["model"],
    }
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{name: tokens[ids[name]] if name in ids else None for name in IDS},
        "add_bos_token": add["bos"],
        "add_eos_token": add["eos"],
        "clean_up_tokenization_spaces": False,
    }
    if model == "gpt2":
        settings["unk_token"] = None  # byte-level BPE has no unknown text
    template = metadata.get("tokenizer.chat_template")
    named = {ids[name] for name in ("eos_token", "eot", "eom") if name in ids}
    by_text = {index for index, token in enumerate(tokens) if kinds[index] == CONTROL and token in _ENDS}
    stops = tuple(sorted(named | by_text))
    whole = _whole(metadata, tokens, kinds)
    text = json.dumps(definition, ensure_ascii=False) + "\n" if whole is None else whole
    return TokenizerParts(text, settings, template if isinstance(template, str) else None, stops)


def _list(metadata: Mapping[str, Any], key: str, kind: type, default: list[Any] | None = None) -> list[Any]:
    values = metadata.get(f"tokenizer.ggml.{key}", default)
    if not isinstance(values, list) or not all(type(value) is kind for value in values):
        raise DamagedError(f"metadata 'tokenizer.ggml.{key}' is missing or not a list of {kind.__name__}")
    return values


def _vocabulary(tokens: list[str], kinds: list[int]) -> dict[str, int]:
    # Unused tokens only pad the vocabulary to the rows of the embedding.
    kept = [(token, index) for index, token in enumerate(tokens) if kinds[index] != UNUSED]
    vocabulary = dict(kept)
    if len(vocabulary) != len(kept):
        twice = next(token for token, index in kept if vocabulary[token] != index)
        raise DamagedError(f"duplicate token {twice!r} in the vocabulary")
    return vocabulary


def _added(tokens: list[str], kinds: list[int]) -> list[dict[str, Any]]:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return [
        {"id": index, "content": token, **plain, "special": kind != USER_DEFINED}
        for index, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind in (UNKNOWN, CONTROL, USER_DEFINED) and token
    ]


def _byte_level(metadata: Mapping[str, Any], tokens: list[str], kinds: list[int]) -> tuple[dict[str, Any], bool]:
    pre = pre_tokenizer_named(metadata.get("tokenizer.ggml.pre", "default"))
    vocabulary = _vocabulary(tokens, kinds)
    merges = []
    for number, merge in enumerate(_list(metadata, "merges", str)):
        left, _, right = merge.partition(" ")
        if left not in vocabulary or right not in vocabulary or left + right not in vocabulary:
            raise DamagedError(f"merge {number} of the tokenizer, {merge!r}, uses tokens outside its vocabulary")
        merges.append([left, right])
    decoder = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    body = {
        "normalizer": {"type": "NFC"} if pre.nfc else None,
        "pre_tokenizer": to_definition(pre),
        "decoder": decoder,
        "model": _bpe(vocabulary, merges, ignore_merges=pre.ignore_merges),
    }
    return body, pre.add_bos


def _sentencepiece(metadata: Mapping[str, Any], tokens: list[str], kinds: list[int], unknown: int) -> dict[str, Any]:
    scores = _list(metadata, "scores", float)
    if len(scores) != len(tokens):
        raise DamagedError(f"the tokenizer has {len(tokens)} tokens and {len(scores)} scores")
    vocabulary = _vocabulary(tokens, kinds)
    pieces = {token: vocabulary[token] for token in vocabulary if kinds[vocabulary[token]] == NORMAL}
    space = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    prefixed = bool(metadata.get("tokenizer.ggml.add_space_prefix", True))
    first = [{"type": "Prepend", "prepend": SPACE}] if prefixed else []
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefixed else []
    decoders = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        *strip,
    ]
    return {
        "normalizer": {"type": "Sequence", "normalizers": [*first, space]},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": _bpe(
            vocabulary,
            _merges_of_scores(pieces, scores),
            unk_token=tokens[unknown] if unknown < len(tokens) and tokens[unknown] in vocabulary else None,
            fuse_unk=True,
            byte_fallback=any(kind == BYTE for kind in kinds),
        ),
    }


def _merges_of_scores(pieces: Mapping[str, int], scores: list[float]) -> list[list[str]]:
    """Merges in the order of SentencePiece, which joins the pair with the highest-scoring result; ties by id."""
    longest = max(pieces, key=len, default="")
    if len(longest) > _LONGEST_PIECE:
        raise DamagedError(f"the tokenizer has a token of {len(longest)} characters")
    found = [
        (-scores[index], pieces[piece[:cut]], pieces[piece[cut:]], piece, cut)
        for piece, index in pieces.items()
        for cut in range(1, len(piece))
        if piece[:cut] in pieces and piece[cut:] in pieces
    ]
    return [[piece[:cut], piece[cut:]] for *_, piece, cut in sorted(found)]


def _bpe(vocabulary: dict[str, int], merges: list[list[str]], **more: Any) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        **more,
        "vocab": vocabulary,
        "merges": merges,
    }


def _post_processor(bos: tuple[str, int] | None, eos: tuple[str, int] | None) -> dict[str, Any] | None:
    """Adds bos before and eos after a text, as configured; None if neither."""
    if bos is None and eos is None:
        return None
    special = {text: {"id": text, "ids": [index], "tokens": [text]} for text, index in filter(None, (bos, eos))}

    def around(letter: str, kind: int) -> list[dict[str, Any]]:
        before, after = ([{"SpecialToken": {"id": end[0], "type_id": kind}}] if end else [] for end in (bos, eos))
        return [*before, {"Sequence": {"id": letter, "type_id": kind}}, *after]

    single, pair = around("A", 0), [*around("A", 0), *around("B", 1)]
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special}


def _whole(metadata: Mapping[str, Any], tokens: list[str], kinds: list[int]) -> str | None:
    """The tokenizer.json in the file, if its tokens and ids equal the file's own list; else None."""
    text = metadata.get(WHOLE)
    if not isinstance(text, str):
        return None
    try:
        data = json.loads(text)
        theirs = ids_of(data)
        special = {token["id"] for token in data["added_tokens"] if token["special"]}
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    # Control tokens of the file's list must be special here too, so that text can never be encoded to them.
    control = {index for index, kind in enumerate(kinds) if kind == CONTROL}
    return text if theirs == _vocabulary(tokens, kinds) and control <= special else None


def ids_of(data: dict[str, Any]) -> dict[str, int]:
    return {**data["model"]["vocab"], **{token["content"]: token["id"] for token in data["added_tokens"]}}
