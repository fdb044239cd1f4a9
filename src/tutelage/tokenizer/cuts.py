"""Where a text may be cut so that its parts, encoded one by one, have the ids of the whole.

A pre-tokenizer cuts a text into words, and no token crosses the end of one. To find all ends takes its expression; to
find many takes two characters: a space behind a letter begins a word by every pattern here, whatever stands around. So
bytes are sorted into classes, and a table says for each two classes whether a word surely ends between them. What is
between two cuts (a piece) is a word, or several that were not told apart: never a part of one.

Some ends three characters tell: the last of several blanks belongs to what follows, and two signs before a letter leave
it alone, where one would belong to it.

A cut must also leave alone what an expression sees beyond it. Of the patterns only `\\s+(?!\\S)` looks ahead, so white
space is never cut off from what follows it, but for line breaks where `\\s*[\\r\\n]+` takes them before.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.tokenizer.building import SPLITS
from tutelage.tokenizer.encoded import portions
from tutelage.tokenizer.known import Strings

# Classes. What is in no other is unsure (perhaps white space) or sure (no white space, but no more is known of it).
_UNSURE, _SPACE, _BREAK, _BLANK, _LETTER, _DIGIT, _SIGN, _APOSTROPHE, _SLASH, _UNDERSCORE, _SURE = range(11)
_OTHER_SIGN = 11  # of several bytes: two signs behind one another are not told by two bytes
_MARK = 12  # accents and vowels that go with a letter
_CLASSES = 16  # two of them in a byte
_BLANKS = (_SPACE, _BREAK, _BLANK)
_ASCII_SIGNS = (_SIGN, _APOSTROPHE, _SLASH, _UNDERSCORE)
_SIGNS = (*_ASCII_SIGNS, _OTHER_SIGN)
_NO_BLANKS = (_LETTER, _DIGIT, *_SIGNS, _MARK, _SURE)
_GPT2 = {SPLITS["gpt2"], r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"}
_AT_ONCE = 200_000  # characters: what is made of them should fit into the cache of a core
_SIZES = np.repeat(np.array([1, 2, 3, 4], np.uint8), [0xC0, 0x20, 0x10, 0x10])  # bytes of a character, by the first
Pairs = set[tuple[int, int]]
Cut = tuple[bytes, NDArray[Any], NDArray[np.int64]]


def _pairs(before: Iterable[int], after: Iterable[int]) -> Pairs:
    after = tuple(after)
    return {(one, other) for one in before for other in after}


_WORDS = _pairs((_LETTER, _DIGIT), (*_SIGNS, _MARK)) | {(_LETTER, _DIGIT), (_DIGIT, _LETTER)}
_OF_GPT2 = (
    _WORDS | _pairs(_NO_BLANKS, _BLANKS) | _pairs((_SIGN, _SLASH, _UNDERSCORE, _OTHER_SIGN, _MARK), (_LETTER, _DIGIT))
)  # a letter behind an apostrophe may be a contraction
_OF_CL100K = (
    _WORDS
    | _pairs(_NO_BLANKS, (_SPACE, _BLANK))
    | _pairs((_LETTER, _DIGIT), (_BREAK,))  # breaks behind a sign belong to it
    | _pairs((_SIGN, _SLASH, _UNDERSCORE, _OTHER_SIGN, _MARK), (_DIGIT,))  # one sign before a letter belongs to it
    | _pairs((_BREAK,), (_LETTER, _DIGIT, *_SIGNS, _MARK))
)
_OF_O200K = _OF_CL100K - {(_LETTER, _APOSTROPHE), (_LETTER, _MARK), (_MARK, _DIGIT), (_BREAK, _SLASH)}
_BLANK_ENDS = _pairs(_NO_BLANKS, _BLANKS) | _pairs((_BREAK, _BLANK), _NO_BLANKS)  # a space stays before its word
_WORD_CLASSES, _OTHERS = (_LETTER, _DIGIT, _UNDERSCORE, _MARK), (_SIGN, _APOSTROPHE, _SLASH, _OTHER_SIGN)
_OF_WHITESPACE = _BLANK_ENDS | _pairs(_WORD_CLASSES, _OTHERS) | _pairs(_OTHERS, _WORD_CLASSES)
_OF_BERT = (
    _BLANK_ENDS
    | _pairs((_LETTER, _DIGIT), _SIGNS)
    | _pairs(_SIGNS, (_LETTER, _DIGIT, *_ASCII_SIGNS))
    | _pairs(_ASCII_SIGNS, _SIGNS)
)
_OF_STEP = {"Whitespace": _OF_WHITESPACE, "BertPreTokenizer": _OF_BERT, "WhitespaceSplit": _BLANK_ENDS}
_OF_PATTERN = {
    **dict.fromkeys(_GPT2, _OF_GPT2),
    **{SPLITS[name]: _OF_CL100K for name in ("cl100k", "digits2", "qwen2")},
    SPLITS["o200k"]: _OF_O200K,
}
# A slash may belong to signs before it: with o200k behind line breaks, too.
_SIGN_PAIRS = _pairs((_SPACE, _SIGN, _APOSTROPHE, _UNDERSCORE), _ASCII_SIGNS), _pairs(_ASCII_SIGNS, (_LETTER,))
_BLANK_PAIRS = _pairs(_BLANKS, (_SPACE,)), _pairs((_SPACE,), _NO_BLANKS)
# Bits of the table of pairs. A word ends between the two; they are the first or the last two of three of which the last
# is parted from the others, or the first.
_ENDS, _TWO_SIGNS, _THEN_LETTER, _TWO_BLANKS, _THEN_NONE = range(5)
# What is surely one word: any of the first classes, then any number of the others; a rule has several such forms.
_OF_SIGNS = (_SPACE, *_SIGNS), _SIGNS
_FORMS_OF_CL100K = ((_SPACE, _BLANK, _SIGN, _SLASH, _UNDERSCORE, _OTHER_SIGN, _MARK, _LETTER), (_LETTER,)), _OF_SIGNS
_FORMS = {
    **dict.fromkeys(_GPT2, (((_SPACE, _LETTER), (_LETTER,)), ((_SPACE, _DIGIT), (_DIGIT,)), _OF_SIGNS)),
    **{SPLITS[name]: _FORMS_OF_CL100K for name in ("cl100k", "digits2", "qwen2")},
    "Whitespace": (((_SPACE, *_WORD_CLASSES), _WORD_CLASSES), ((_SPACE, *_OTHERS), _OTHERS)),
    "BertPreTokenizer": (((_SPACE, _LETTER, _DIGIT, _MARK), (_LETTER, _DIGIT, _MARK)),),
    "WhitespaceSplit": (((_SPACE, *_NO_BLANKS), _NO_BLANKS),),
}
_LOCAL = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "BertNormalizer"}


class Cuts:
    """Cuts texts as steps of a tokenizer.json allow. Raises ValueError for those of which it is unknown."""

    def __init__(self, pre_tokenizer: dict[str, Any] | None, normalizer: dict[str, Any] | None) -> None:
        pairs, name = _rule(pre_tokenizer)
        self.in_bytes = '"ByteLevel"' in json.dumps(pre_tokenizer)
        """Whether words are spelled in the characters that stand for bytes."""
        self._skips_blanks = name in _OF_STEP  # white space becomes no token
        normalizers = _normalizers(normalizer)
        if not normalizers <= (_LOCAL if self._skips_blanks else {"NFC"}):
            raise ValueError(f"a text is normalised as a whole ({', '.join(sorted(normalizers))})")
        self._table = _table(pairs, signs=name in _OF_PATTERN and (_SIGN, _LETTER) not in pairs)
        # A normalizer may write a letter as several characters, with a mark at the end.
        self._all_letters = not normalizers
        self._classes = _ascii_classes()
        self._lowers = _lowers(normalizer)
        self._forms = [[np.isin(np.arange(_CLASSES), one) for one in form] for form in _FORMS.get(name, ())]

    @property
    def tells_words(self) -> bool:
        """Whether it is known of some pieces that they are one word."""
        return bool(self._forms)

    def single(self, pieces: Strings) -> NDArray[np.bool_]:
        """Which of the pieces, cut from texts, are surely one word that a normalizer does no more than lower."""
        data, begins = pieces.data, pieces.begins[:-1]
        if not len(begins):
            return np.zeros(0, bool)
        classes = np.frombuffer(bytearray(data.tobytes().translate(self._classes)), np.uint8)
        if not data.tobytes().isascii():
            self._mark(data, classes)
        within = data & 0xC0 == 0x80  # of a character its first byte counts
        found = np.zeros(len(begins), bool)
        for first, others in self._forms:
            fits = others[classes] | within
            fits[begins] = first[classes[begins]]
            if not self._all_letters:
                fits &= data < 0x80
            found |= np.logical_and.reduceat(fits, begins)
        return found & (pieces.sizes > 1) if self._skips_blanks else found

    def normalised(self, words: Strings) -> Strings:
        """Single words as the model gets them."""
        if self._skips_blanks:
            blank = words.data == ord(" ")
            before = np.append(0, np.cumsum(blank))[words.begins].astype(np.int32)
            words = Strings(words.data[~blank], words.begins - before)
        if self._lowers:
            words = Strings(np.frombuffer(words.data.tobytes().lower(), np.uint8), words.begins)
        return words

    def cut(self, texts: Sequence[str]) -> Cut:
        """The texts as bytes, where in these the pieces begin (and, last,
        where they end), and how many pieces there are up to the end of each text. Raises TypeError and
        UnicodeEncodeError for what is no text."""
        made = [self._cut(some) for some in portions(texts, _AT_ONCE)]
        data = b"".join(part for part, _, _ in made)
        before = np.cumsum([0, *(len(part) for part, _, _ in made)])
        pieces = np.cumsum([0, *(len(begins) for _, begins, _ in made)])
        begins = [begins + at for (_, begins, _), at in zip(made, before, strict=False)]
        ends = [np.zeros(0, np.int64), *(ends + at for (_, _, ends), at in zip(made, pieces, strict=False))]
        return data, np.concatenate([*begins, before[-1:]]).astype(np.int32), np.concatenate(ends)

    def _cut(self, texts: Sequence[str]) -> Cut:
        """Of some texts, without where the last piece ends."""
        parts = list(map(str.encode, texts))
        ends = np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)))
        data = b"".join(parts)
        classes = np.frombuffer(bytearray(data.translate(self._classes)), np.uint8)
        if not data.isascii():
            self._mark(np.frombuffer(data, np.uint8), classes)
        both = classes.copy()  # the class of a byte and, above it, that of the one before
        both[1:] |= classes[:-1] << 4
        found = np.frombuffer(bytearray(both.tobytes().translate(self._table)), np.uint8)
        sizes = np.diff(ends, prepend=0)
        starts = (ends - sizes)[sizes > 0]
        found[starts] = 0  # the two are of different texts
        cut = found & 1
        cut[1:] |= found[:-1] >> _TWO_SIGNS & found[1:] >> _THEN_LETTER & 1
        cut[:-1] |= found[:-1] >> _TWO_BLANKS & found[1:] >> _THEN_NONE & 1
        cut[starts] = 1
        begins = np.flatnonzero(cut.view(np.bool_))
        return data, begins, np.searchsorted(begins, ends)

    def _mark(self, data: NDArray[np.uint8], classes: NDArray[np.uint8]) -> None:
        """Classes of characters of several bytes: at their first byte, for what is before, and at their last."""
        classes[data >= 0x80] = _UNSURE  # within a character nothing is cut
        all_kinds = _other_classes(self._all_letters)
        lead = np.flatnonzero(data >= 0xC0)
        sizes = _SIZES[data[lead]]
        for size in (2, 3, 4):
            first = lead[sizes == size]
            code = (data[first] & 0xFF >> size + 1).astype(np.int32)
            for place in range(1, size):
                code = code << 6 | data[first + place] & 0x3F
            classes[first] = classes[first + size - 1] = all_kinds[code]


def _table(pairs: Pairs, signs: bool) -> bytes:
    """What two classes, one behind the other, mean: a bit for each meaning. `signs`: whether one before a letter
    belongs to it."""
    meanings = [pairs, *(_SIGN_PAIRS if signs else [set(), set()]), *_BLANK_PAIRS]
    both = [(first, second) for first in range(_CLASSES) for second in range(_CLASSES)]
    return bytes(sum((two in some) << bit for bit, some in enumerate(meanings)) for two in both)


def _rule(pre_tokenizer: dict[str, Any] | None) -> tuple[Pairs, str]:
    """Between which classes a word ends, and the name of the rule: a pattern or a kind of step."""
    given = pre_tokenizer or {"type": "Sequence", "pretokenizers": []}
    steps = list(given["pretokenizers"] if given["type"] == "Sequence" else [given])
    if len(steps) == 1 and steps[0]["type"] in _OF_STEP:
        return _OF_STEP[steps[0]["type"]], steps[0]["type"]
    if steps and steps[-1]["type"] == "ByteLevel" and not steps[-1]["add_prefix_space"]:
        last = steps.pop()
        if last.get("use_regex", True):
            if not steps:
                return _OF_GPT2, SPLITS["gpt2"]
            raise ValueError("words are cut once more")
    if len(steps) == 1 and steps[0]["type"] == "Split":
        step = steps[0]
        pairs = _OF_PATTERN.get(step["pattern"].get("Regex", ""))
        if pairs is not None and step["behavior"] == "Isolated" and not step["invert"]:
            return pairs, step["pattern"]["Regex"]
    raise ValueError(f"words of an unknown pre-tokenizer: {json.dumps(pre_tokenizer)[:100]}")


def _normalizers(normalizer: dict[str, Any] | None) -> set[str]:
    if normalizer is None:
        return set()
    if normalizer["type"] == "Sequence":
        return {kind for step in normalizer["normalizers"] for kind in _normalizers(step)}
    return {normalizer["type"]}


def _lowers(normalizer: dict[str, Any] | None) -> bool:
    """Whether it makes capitals small."""
    steps = [] if normalizer is None else normalizer.get("normalizers", [normalizer])
    return any(
        _lowers(step) if step["type"] == "Sequence" else step["type"] == "Lowercase" or bool(step.get("lowercase"))
        for step in steps
    )


@cache
def _ascii_classes() -> bytes:
    """The class of each byte; of those beyond ASCII, sure: what the others are is marked afterwards."""
    named = {" ": _SPACE, "\n": _BREAK, "\r": _BREAK, "\t": _BLANK, "'": _APOSTROPHE, "/": _SLASH, "_": _UNDERSCORE}

    def kind(char: str) -> int:
        if char in named:
            return named[char]
        return _LETTER if char.isalpha() else _DIGIT if char.isdigit() else _SIGN if char.isprintable() else _UNSURE

    return bytes(kind(chr(byte)) if byte < 0x80 else _SURE for byte in range(256))


@cache
def _other_classes(all_letters: bool) -> NDArray[np.uint8]:
    """The class of each character beyond ASCII. Only those that Unicode has had unchanged since its version 3.2 are
    told apart, because libraries know different versions; white space and what might be are in all."""
    classes = np.full(0x110000, _SURE, np.uint8)
    old = unicodedata.ucd_3_2_0
    for code in (*range(0x80, 0x2070), *range(0x3000, 0x3100), *range(0xFF01, 0xFFDD)):
        kind, before = unicodedata.category(chr(code)), old.category(chr(code))
        if kind[0] in "ZC" or before[0] in "ZC" or chr(code).isspace():
            both = kind[0] == before[0] == "Z" and chr(code).isspace()
            classes[code] = _BLANK if both else _SURE if kind == "Cn" else _UNSURE
        elif all_letters and kind == before:
            if kind[0] == "L":
                classes[code] = _LETTER
            elif kind == "Nd":
                classes[code] = _DIGIT
            elif kind[0] == "M":
                classes[code] = _MARK
            elif kind[0] == "P" and kind != "Pc":
                classes[code] = _OTHER_SIGN
    classes[0xFEFF] = classes[0xFFF9:0xFFFC] = _UNSURE
    if all_letters:
        classes[0x4E00:0x9FA6] = classes[0xAC00:0xD7A4] = _LETTER
    return classes
