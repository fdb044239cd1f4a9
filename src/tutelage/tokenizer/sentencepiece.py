"""SentencePiece models (Kudo & Richardson 2018); the protocol buffer is parsed here, without a library.

Field numbers are those of `sentencepiece_model.proto`; the wire format is that of Protocol Buffers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Library

from tutelage.store.errors import InputError

SPACE = "▁"  # replaces a space in pieces
_UNIGRAM, _BPE, _CHAR = 1, 2, 4
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED = 1, 2, 3, 4, 5
_NEVER = -1e6  # log probability of an unused piece
_PRIVATE = 0x10F000  # private-use characters of plane 16: one replaces each user-defined symbol
_NAMED = {41: ("bos_token", 46, "<s>"), 42: ("eos_token", 47, "</s>"), 40: ("unk_token", 45, "<unk>")}
"""Field of an id in the trainer's settings -> (its name here, field of the piece, the piece by default)."""
_DEFAULT_IDS = {40: 0, 41: 1, 42: 2}
Message = dict[int, list[Any]]


@dataclass(frozen=True)
class _Piece:
    text: str
    score: float
    kind: int


def read_sentencepiece(path: Path) -> tuple[Library, dict[str, str]]:
    """A `tokenizers.Tokenizer` with the same segmentation and ids, and the model's bos, eos and unk tokens. Raises
    InputError for a file that is not a SentencePiece model, and for models of whole words."""
    try:
        proto = _message(path.read_bytes())
        pieces = [_piece(_message(one)) for one in proto.get(1, [])]
        trainer, spec = (_message(proto[field][0]) if field in proto else {} for field in (2, 3))
    except (ValueError, IndexError, struct.error, UnicodeDecodeError, AttributeError, TypeError):
        raise InputError(f"{path.name} is not a SentencePiece model") from None
    kind = _one(trainer, 3, _UNIGRAM)
    if not pieces or kind not in (_UNIGRAM, _BPE, _CHAR):
        raise InputError(
            f"{path.name} is a SentencePiece model of whole words, or has no pieces: it cannot be imported"
        )
    if _one(trainer, 24, 0):
        raise InputError(f"{path.name} puts spaces behind words (treat_whitespace_as_suffix): it cannot be imported")
    fallback = bool(_one(trainer, 35, 0))
    symbols = _symbols(pieces)
    pieces = [replace(one, text=symbols.get(one.text, one.text)) for one in pieces]
    library = Library(_model(pieces, kind, fallback))
    prefix = bool(_one(spec, 3, 1))
    library.normalizer = _normalizer(spec, prefix, symbols)
    library.decoder = _decoder(prefix, symbols)
    if fallback and kind == _UNIGRAM:  # the name of a byte in a text is not the byte
        library.pre_tokenizer = pre_tokenizers.Split(Regex("<(?=0x[0-9A-F]{2}>)"), behavior="isolated")
    library.add_special_tokens([_added(one, True) for one in pieces if one.kind == _CONTROL])
    return library, _named(trainer, pieces)


def _symbols(pieces: list[_Piece]) -> dict[str, str]:
    """A replacement character for each user-defined symbol, longest first. SentencePiece finds these symbols in the
    raw text and segments it as if each were one character."""
    found = sorted((one.text for one in pieces if one.kind == _USER_DEFINED), key=lambda text: (-len(text), text))
    return {text: chr(_PRIVATE + number) for number, text in enumerate(found)}


def _model(pieces: list[_Piece], kind: int, byte_fallback: bool) -> Any:
    unknown = next((at for at, one in enumerate(pieces) if one.kind == _UNKNOWN), 0)
    if kind == _UNIGRAM:
        scored = [(one.text, _NEVER if one.kind == _UNUSED else one.score) for one in pieces]
        return models.Unigram(scored, unk_id=unknown, byte_fallback=byte_fallback)
    vocabulary = {one.text: at for at, one in enumerate(pieces)}
    merges = _merges(pieces, vocabulary) if kind == _BPE else []
    return models.BPE(
        vocab=vocabulary,
        merges=merges,
        unk_token=pieces[unknown].text,
        fuse_unk=True,
        byte_fallback=byte_fallback,
    )


def _merges(pieces: list[_Piece], vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """Every way to make a piece of two others; the better the piece's score, the earlier."""
    found: list[tuple[float, str, str]] = []
    for one in pieces:
        if one.kind != _NORMAL:
            continue
        pairs = [(one.text[:cut], one.text[cut:]) for cut in range(1, len(one.text))]
        there = [pair for pair in pairs if pair[0] in vocabulary and pair[1] in vocabulary]
        there.sort(key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))
        found += [(one.score, *pair) for pair in there]
    found.sort(key=lambda one: -one[0])
    return [(left, right) for _, left, right in found]


def _normalizer(spec: Message, prefix: bool, symbols: dict[str, str]) -> Any:
    steps: list[Any] = [normalizers.Replace(text, char) for text, char in symbols.items()]
    if charsmap := _one(spec, 2, b""):
        mapped = normalizers.Precompiled(charsmap)
        # The library treats both together as one character.
        steps.append(normalizers.Replace("\r\n", mapped.normalize_str("\r") + mapped.normalize_str("\n")))
        steps.append(mapped)
    if _one(spec, 4, 1):  # remove_extra_whitespaces: spaces, not line ends; at the end also `SPACE`
        steps += [normalizers.Replace(Regex(rf"\A +|[ {SPACE}]+\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if prefix:
        steps.append(normalizers.Prepend(SPACE))
    return normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])


def _decoder(prefix: bool, symbols: dict[str, str]) -> Any:
    steps: list[Any] = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    steps += [decoders.Replace(char, text) for text, char in symbols.items()]
    return decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefix else steps)


def _named(trainer: Message, pieces: list[_Piece]) -> dict[str, str]:
    """bos_token, eos_token and unk_token, if they are in the vocabulary."""
    texts = {one.text for one in pieces}
    found = {}
    for field, (name, piece_field, usual) in _NAMED.items():
        index = _one(trainer, field, _DEFAULT_IDS[field])
        text = _one(trainer, piece_field, usual.encode()).decode("utf-8")
        if index < 1 << 31 and text in texts:  # -1 (none) is a very large number in the wire format
            found[name] = text
    return found


def _added(piece: _Piece, special: bool) -> AddedToken:
    return AddedToken(piece.text, special=special, normalized=False)


def _piece(message: Message) -> _Piece:
    score = struct.unpack("<f", message[2][0])[0] if 2 in message else 0.0
    return _Piece(message[1][0].decode("utf-8"), score, _one(message, 3, _NORMAL))


def _one(message: Message, field: int, usual: Any) -> Any:
    return message[field][-1] if field in message else usual


def _message(data: bytes) -> Message:
    """Values of each field: integers, and raw bytes of everything else."""
    found: Message = {}
    for field, value in _values(data):
        found.setdefault(field, []).append(value)
    return found


def _values(data: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        field, wire = key >> 3, key & 7
        if wire == 0:
            value: Any
            value, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            value, at = data[at : at + size], at + size
        elif wire == 2:
            size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
        else:
            raise ValueError(f"wire type {wire}")
        if at > len(data):
            raise ValueError("truncated")
        yield field, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
