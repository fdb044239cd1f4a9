"""Vocabularies that are there, taken over: of SentencePiece, of tiktoken, and any tokenizer.json.

Ids and pieces stay as they are. Control tokens that the vocabulary lacks (end of document, start and end of a message)
are added behind its last id, so that a model can be raised and talked to with it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Library

from tutelage.store.errors import InputError
from tutelage.tokenizer.building import UNKNOWN
from tutelage.tokenizer.config import SPECIAL_TOKENS, TokenizerConfig
from tutelage.tokenizer.sentencepiece import read_sentencepiece
from tutelage.tokenizer.template import CHATML
from tutelage.tokenizer.tiktoken import read_tiktoken
from tutelage.tokenizer.tokenizer import Tokenizer

_ENDS = (SPECIAL_TOKENS[0], "</s>", "<eos>", "<|end_of_text|>")


def import_vocabulary(config: TokenizerConfig) -> Tokenizer:
    """The tokenizer of `config.source`, with control tokens and our chat template added if it has none.

    Raises InputError if the file is missing or not a vocabulary.
    """
    assert config.source is not None
    path = Path(config.source).expanduser()
    if not path.exists():
        raise InputError(f"tokenizer.source: {config.source} does not exist")
    if path.is_dir():
        return _with_chat(Tokenizer.load(path))
    if path.name.endswith(".json"):
        return _tokenizer(Library.from_file(str(path)), {})
    if path.name.endswith(".tiktoken"):
        return _tokenizer(read_tiktoken(path, config), {})
    if path.name.endswith(".model"):
        library, named = read_sentencepiece(path)
        return _tokenizer(library, named)
    raise InputError(
        f"tokenizer.source: {path.name} is not a vocabulary",
        hint="a SentencePiece .model, a .tiktoken file, a tokenizer.json, or a folder with one",
    )


def _tokenizer(library: Library, named: dict[str, str]) -> Tokenizer:
    """`named`: bos_token, eos_token and so on, if the vocabulary names them."""
    end = named.get("eos_token") or next((name for name in _ENDS if library.token_to_id(name) is not None), None)
    end = end or SPECIAL_TOKENS[0]
    missing = [token for token in (end, *SPECIAL_TOKENS[1:]) if library.token_to_id(token) is None]
    library.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (end, *missing)])
    ids = list(library.get_vocab(with_added_tokens=True).values())
    if len(ids) != len(set(ids)):
        names = " ".join(dict.fromkeys((end, *missing)))
        raise InputError(
            f"the vocabulary has gaps in its ids, so {names} cannot be appended",
            hint="add these tokens to the tokenizer.json with unused ids",
        )
    unknown = UNKNOWN if library.token_to_id(UNKNOWN) is not None else None
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": named.get("bos_token"),
        "eos_token": end,
        "pad_token": end,
        "unk_token": named.get("unk_token") or unknown,
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1_000_000_000,
    }
    return Tokenizer(library.to_str(pretty=True) + "\n", settings, CHATML)


def _with_chat(tok: Tokenizer) -> Tokenizer:
    """The tokenizer with our chat template, unless it has one."""
    if tok.chat_template is not None:
        return tok
    named = {key: text for key in ("bos_token", "eos_token", "unk_token") if (text := tok.special_tokens.get(key))}
    return _tokenizer(Library.from_str(json.dumps(json.loads(tok.definition))), named)
