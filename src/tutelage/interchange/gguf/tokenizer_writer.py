"""Write a tokenizer as GGUF metadata with which llama.cpp tokenizes identically."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tutelage.interchange.gguf.pretokenizers import name_of
from tutelage.interchange.gguf.tokenizer import (
    BYTE,
    CONTROL,
    IDS,
    NORMAL,
    SPACE,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    WHOLE,
    TokenizerParts,
    ids_of,
)  # fmt: skip
from tutelage.store.errors import InputError
from tutelage.tokenizer.tokenizer import Tokenizer


def write_tokenizer(tok: Tokenizer, vocab_size: int) -> dict[str, Any]:
    """Metadata entries for a tokenizer, padded to `vocab_size` tokens.

    Raises InputError for a tokenizer that llama.cpp does not support.
    """
    parts = parts_of(tok)
    data = json.loads(parts.definition)
    model = data["model"]
    if model["type"] != "BPE":
        raise InputError(f"a {model['type']} tokenizer cannot be written as GGUF", hint="byte-level BPE can")
    steps = (data.get("decoder") or {}).get("decoders", [data.get("decoder") or {}])
    byte_level = any(step.get("type") == "ByteLevel" for step in steps)
    tokens, kinds = _tokens_and_kinds(tok, data, vocab_size)
    entries: dict[str, Any] = {}
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    if byte_level:
        # Without merges every byte is a token, whatever the pre-tokenizer.
        pre = name_of(data["pre_tokenizer"], bool(model.get("ignore_merges"))) if merges else "gpt-2"
        entries = {"model": "gpt2", "pre": pre, "tokens": tokens, "token_type": kinds, "merges": merges}
    else:
        entries = {
            "model": "llama",
            "pre": "default",
            "tokens": tokens,
            "scores": _scores_of_merges(merges, tokens),
            "token_type": kinds,
            "add_space_prefix": _sentencepiece_prefix(data),
        }
    named = {
        f"{key}_token_id": tok.token_to_id(text) for name, key in IDS.items() if (text := tok.special_tokens.get(name))
    }
    others = [index for index in tok.stop_ids if index != tok.eos_id]
    if others:
        named["eot_token_id"] = others[0]
    for end in ("bos", "eos"):
        named[f"add_{end}_token"] = bool(parts.settings.get(f"add_{end}_token")) and f"{end}_token_id" in named
    written = {f"tokenizer.ggml.{key}": value for key, value in {**entries, **named}.items() if value is not None}
    if tok.chat_template is not None:
        written["tokenizer.chat_template"] = tok.chat_template
    return {**written, WHOLE: parts.definition}


def parts_of(tok: Tokenizer) -> TokenizerParts:
    return TokenizerParts(tok.definition, tok.settings, tok.chat_template, tok.stop_ids)


def _tokens_and_kinds(tok: Tokenizer, data: dict[str, Any], vocab_size: int) -> tuple[list[str], list[int]]:
    ids = ids_of(data)
    if max(ids.values()) >= vocab_size:
        raise InputError(f"the tokenizer has {max(ids.values()) + 1} tokens, the model's vocabulary {vocab_size}")
    by_id = {index: token for token, index in ids.items()}
    added = {token["id"] for token in data["added_tokens"]}
    unknown, fallback = data["model"].get("unk_token"), bool(data["model"].get("byte_fallback"))
    tokens, kinds = [], []
    for index in range(vocab_size):
        token = by_id.get(index)
        tokens.append(f"[PAD{index}]" if token is None else token)
        if token is None:
            kinds.append(UNUSED)
        elif token == unknown:
            kinds.append(UNKNOWN)
        elif index in tok.control_ids:
            kinds.append(CONTROL)
        elif index in added:
            kinds.append(USER_DEFINED)
        elif fallback and len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            kinds.append(BYTE)
        else:
            kinds.append(NORMAL)
    return tokens, kinds


def _scores_of_merges(merges: Iterable[str], tokens: list[str]) -> list[float]:
    """A score per token: minus the rank of the first merge that makes it, so that llama.cpp merges in that order."""
    rank: dict[str, int] = {}
    for number, merge in enumerate(merges):
        rank.setdefault(merge.replace(" ", ""), number)
    return [-float(rank.get(token, 0)) for token in tokens]


def _sentencepiece_prefix(data: dict[str, Any]) -> bool:
    """Whether a space is added before a text. Raises InputError if the definition is not SentencePiece BPE."""
    if not data["model"].get("byte_fallback"):
        raise InputError("this tokenizer cannot be written as GGUF", hint="byte-level and SentencePiece BPE can")
    normalizer, pre = data.get("normalizer") or {}, data.get("pre_tokenizer") or {}
    steps = normalizer.get("normalizers", [normalizer] if normalizer else [])
    replaced = any(step.get("type") == "Replace" and step.get("content") == SPACE for step in steps)
    if pre.get("type") == "Metaspace" and pre.get("replacement") == SPACE:
        return bool(pre.get("prepend_scheme", "always") != "never")
    if not replaced or {step.get("type") for step in steps} - {"Replace", "Prepend"}:
        raise InputError("this tokenizer cannot be written as GGUF: it does not mark spaces as SentencePiece does")
    return any(step.get("type") == "Prepend" for step in steps)
