"""Encoding by words: each distinct word is encoded once and then looked up.

A definition whose pre-tokenizer splits text into words encodes each word separately, so the ids of a text are the
concatenated ids of its words. Splitting takes most of the time in `tokenizers`; fastokens is several times as fast but
supports byte-pair models only. It is therefore given a vocabulary of the words seen so far: it returns their numbers,
and unknown words as bytes, of which all but the first of a word are marked. The ids of a word come from the model of
the definition.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from tutelage.tokenizer.definition import byte_characters
from tutelage.tokenizer.encoded import Encoded, portions

Numbers = NDArray[np.int64]
MOST_WORDS, MOST_BYTES = 500_000, 50_000_000
"""Limits of the word cache, which is cleared when full."""
_BYTES = 256  # numbers of bytes
_INSIDE = "▁"  # marks a byte inside a word: a character that represents no byte
_LONGEST = 64  # bytes of the words in the splitter's vocabulary: fastokens rejects tokens of 64 KB
_WORTH = 4  # occurrences of unknown words that cost as much as one word of a new splitter
_AT_ONCE = 500_000  # characters between checks of whether a new splitter pays off
_CHARACTERS = byte_characters()
_TO_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
_LETTERS = r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d}"  # what \w means in `tokenizers`
_WHITESPACE = {
    "type": "Split",
    "pattern": {"Regex": rf"[{_LETTERS}]+|[^{_LETTERS}\s]+"},
    "behavior": "Removed",
    "invert": True,
}


class Words:
    """Encoder with the ids of the definition, safe to share between threads. Raises ValueError for a definition that
    does not encode word by word or that fastokens cannot split, ImportError if fastokens is not installed."""

    def __init__(self, definition: str) -> None:
        data = json.loads(definition)
        if data["model"].get("dropout"):
            raise ValueError("a word has other ids each time (dropout)")
        if any(not token["special"] for token in data["added_tokens"]):
            raise ValueError("added tokens are no words")
        self._steps, self._in_bytes = _steps(data["pre_tokenizer"])
        self._normalizer = data["normalizer"]
        self._model = tokenizers.Tokenizer.from_str(definition).model
        self._lock = threading.Lock()
        self._forget()

    def encode(self, texts: Sequence[str]) -> Encoded:
        with self._lock:
            return Encoded.joined([self._portion(some) for some in portions(texts, _AT_ONCE)])

    def _portion(self, texts: Sequence[str]) -> Encoded:
        said, begins = self._splitter.encode_batch_flat(list(texts), False, True)
        numbers, at = self._numbers(np.frombuffer(said, "<u4").astype(np.int64))
        ends = np.searchsorted(at, np.frombuffer(begins, "<u8")[1:].astype(np.int64))
        self._met += np.bincount(numbers, minlength=len(self._met))
        count = self._lengths[numbers]
        done = np.concatenate([[0], np.cumsum(count)])
        first = np.cumsum(self._lengths) - self._lengths
        ids = self._ids[np.repeat(first[numbers] - done[:-1], count) + np.arange(done[-1])]
        if len(self._index) > MOST_WORDS or self._size > MOST_BYTES:
            self._forget()
        elif self._unknown > _WORTH * np.count_nonzero(self._met > 1):
            self._learn()
        return Encoded(ids, done[ends])

    def _forget(self) -> None:
        self._index: dict[bytes, int] = {}  # word -> its number
        self._met = np.zeros(0, np.int64)  # occurrences of each word
        self._lengths, self._ids = np.zeros(0, np.int64), np.zeros(0, np.uint32)  # their ids, concatenated
        self._size = 0
        self._number_of = np.full(_BYTES, -1)  # output of the splitter without marked bytes -> number of the word
        self._learn()

    def _learn(self) -> None:
        """A splitter whose vocabulary is the words seen at least twice."""
        words = list(self._index)
        often = np.flatnonzero(self._met > 1).tolist()
        known = [number for number in often if 1 < len(words[number]) <= _LONGEST]
        self._splitter = self._built([words[number] for number in known])
        self._number_of = np.append(self._number_of[:_BYTES], np.array(known, np.int64))
        self._unknown = 0

    def _numbers(self, said: Numbers) -> tuple[Numbers, Numbers]:
        """Number of each word, and its offset in the splitter's output; new words are numbered."""
        at = np.flatnonzero((said < _BYTES) | (said >= 2 * _BYTES))
        begins = said[at]
        begins[begins >= _BYTES] -= _BYTES
        stops = np.append(at[1:], len(said))
        spelled = np.flatnonzero(stops - at > 1)
        alone = begins[(self._number_of[begins] < 0) & (stops - at == 1)]
        for byte in np.unique(alone).tolist():
            self._number_of[byte] = self._index.setdefault(bytes([byte]), len(self._index))
        numbers = self._number_of[begins]
        index, text = self._index, (said & 0xFF).astype(np.uint8).tobytes()
        places = zip(at[spelled].tolist(), stops[spelled].tolist(), strict=True)
        numbers[spelled] = [index.setdefault(text[begin:end], len(index)) for begin, end in places]
        self._unknown += len(spelled)
        self._add(list(islice(index, len(self._lengths), None)))
        return numbers, at

    def _add(self, words: list[bytes]) -> None:
        texts = map(_shown, words) if self._in_bytes else (word.decode("utf-8") for word in words)
        try:
            ids = [[token.id for token in self._model.tokenize(text)] for text in texts]
        except Exception as error:  # such as a character without a token
            raise ValueError(f"a word cannot be encoded: {error}") from None
        self._ids = np.append(self._ids, np.array([one for some in ids for one in some], np.uint32))
        self._lengths = np.append(self._lengths, np.array([len(some) for some in ids], np.int64))
        self._met = np.append(self._met, np.zeros(len(words), np.int64))
        self._size += sum(map(len, words))

    def _built(self, words: Sequence[bytes]) -> Any:
        import fastokens

        names = [_CHARACTERS[byte] for byte in range(_BYTES)]  # in this order a number is a byte
        names += [_INSIDE + char for char in names]
        names += map(_shown, words)
        model: dict[str, Any] = {
            "type": "BPE", "dropout": None, "unk_token": None, "end_of_word_suffix": None, "fuse_unk": False,
            "continuing_subword_prefix": _INSIDE, "byte_fallback": False, "ignore_merges": True,
            "vocab": {name: number for number, name in enumerate(names)}, "merges": [],
        }  # fmt: skip
        return fastokens.Tokenizer.from_json_str(json.dumps({
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": self._normalizer,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": self._steps}, "post_processor": None,
            "decoder": None, "model": model,
        }))  # fmt: skip


def _shown(word: bytes) -> str:
    """The bytes as the characters that represent them."""
    return word.decode("latin-1").translate(_CHARACTERS)


def _steps(pre_tokenizer: dict[str, Any] | None) -> tuple[list[dict[str, Any]], bool]:
    """Steps that split a text into words of bytes, and whether the definition's own steps end in bytes."""
    given = pre_tokenizer or {"type": "Sequence", "pretokenizers": []}
    steps = given["pretokenizers"] if given["type"] == "Sequence" else [given]
    steps = [_WHITESPACE if step["type"] == "Whitespace" else step for step in steps]
    kinds = [step["type"] for step in steps]
    if not kinds or (kinds == ["ByteLevel"] and not steps[0]["use_regex"]):
        raise ValueError("text is not cut into words")
    if "ByteLevel" in kinds[:-1] or "Sequence" in kinds:
        raise ValueError("bytes are cut once more")
    in_bytes = kinds[-1] == "ByteLevel"
    return (steps if in_bytes else [*steps, _TO_BYTES]), in_bytes
