"""tiktoken vocabularies: per line a token, as its bytes in base64 and its rank."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection
from pathlib import Path

from tokenizers import Tokenizer as Library
from tokenizers import models

from tutelage.store.errors import InputError
from tutelage.tokenizer.building import SPLITS, byte_level
from tutelage.tokenizer.config import Split, TokenizerConfig
from tutelage.tokenizer.vocabulary import byte_characters

_PUBLISHED: dict[int, Split] = {50256: "gpt2", 100256: "cl100k", 199998: "o200k"}
"""Number of ranks of the published vocabularies -> the split that they were trained with."""
_PRIVATE, _MOST_FILLERS = 0x100000, 0xFFFE  # characters of plane 16: none of them represents a byte


def read_tiktoken(path: Path, config: TokenizerConfig) -> Library:
    """Byte-level BPE with the ids of the file. The file does not contain the pattern that splits words: it is given by
    `split` or `pattern` of the config, or recognised by the size of a published vocabulary. Raises InputError for
    malformed lines, and if the pattern is unknown."""
    ranks = _ranks(path)
    split = config.split or _PUBLISHED.get(len(ranks))
    pattern = config.pattern or (SPLITS[split] if split else "")
    if not pattern:
        raise InputError(
            f"{path.name} has {len(ranks):,} ranks, but no pattern for splitting words",
            hint="set tokenizer.split, or tokenizer.pattern to the regular expression it was made with",
        )
    shown = byte_characters()
    names = {token: "".join(shown[byte] for byte in token) for token in ranks}
    vocabulary = {names[token]: rank for token, rank in ranks.items()}
    vocabulary |= _fillers(path, vocabulary.values())
    model = models.BPE(vocab=vocabulary, merges=_merges(ranks, names), ignore_merges=True)
    return byte_level(model, pattern, controls=False)


def _fillers(path: Path, ranks: Collection[int]) -> dict[str, int]:
    """Unreachable tokens for the ranks missing in the file: `tokenizers` numbers added tokens by the size of the
    vocabulary, and would give a control token the id of another token."""
    missing = sorted(set(range(max(ranks))) - set(ranks))
    if len(missing) > _MOST_FILLERS:
        raise InputError(f"{path.name} lacks {len(missing):,} ranks below its highest, {max(ranks):,}")
    return {chr(_PRIVATE + number): rank for number, rank in enumerate(missing)}


def _merges(ranks: dict[bytes, int], names: dict[bytes, str]) -> list[tuple[str, str]]:
    """The merge of each token: the two tokens that its bytes are encoded to by the merges of lower rank."""
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) > 1:
            parts = _parts(token, ranks, rank)
            if len(parts) == 2:  # others were never reached by merging, only as whole words
                merges.append((names[parts[0]], names[parts[1]]))
    return merges


def _parts(token: bytes, ranks: dict[bytes, int], below: int) -> list[bytes]:
    """A token's bytes merged by all ranks below its own."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 1:
        ranked = [(ranks.get(parts[at] + parts[at + 1], below), at) for at in range(len(parts) - 1)]
        rank, at = min(ranked)
        if rank >= below:
            break
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts


def _ranks(path: Path) -> dict[bytes, int]:
    ranks: dict[bytes, int] = {}
    taken: set[int] = set()
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            token, rank = line.split()
            data, index = base64.b64decode(token, validate=True), int(rank)
        except (ValueError, binascii.Error):
            raise InputError(f"{path.name}, line {number}: not a token in base64 and a rank") from None
        if index < 0 or index in taken or data in ranks:
            raise InputError(f"{path.name}, line {number}: the rank is below 0, or it or the token was there before")
        ranks[data] = index
        taken.add(index)
    if missing := [byte for byte in range(256) if bytes([byte]) not in ranks]:
        raise InputError(f"{path.name} lacks {len(missing)} of the 256 bytes: it cannot write every text")
    return ranks
