"""Scripts and languages: words where they are spaced, pieces of writing where they are not, and what is English."""

from __future__ import annotations

import re
import string
import unicodedata
from functools import cache

from tutelage.corpus.sentences import word_set, words_of

# Scripts that put no space between words: how many letters a word has there, on average, and how long the overlapping
# pieces are that stand for words where texts are compared (an n-gram of them covers about as much as one of words).
_HAN = "\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
_THAI = "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff\uaa60-\uaa7f"  # and Lao, Burmese, Khmer
_UNSPACED = ((re.compile(f"[{_HAN}]+"), 2, 4), (re.compile(f"[{_THAI}]+"), 5, 8))
_ANY_UNSPACED = re.compile(f"[{_HAN}{_THAI}]")
_RUN = re.compile(f"[{_HAN}]+|[{_THAI}]+")
# From here on scripts have vowel signs and other marks that belong to a word, though no letters.
_MARKED = re.compile("[\u0300-\u036f\u0483-\u0489\u0591-\u1cff\u1dc0-\u1dff\ua802-\uabff]")
# What is neither word, space, mark nor punctuation of sentences; a hyphen is a sign only between spaces.
_SIGNS = r"""[^\w\s.,;:!?'"()\[\]“”„‘’‚«»‹›…¡¿·—–\-、。，；：！？「」『』（）।\u0300-\u036f\u0590-\u1cff]"""
_SIGN_ALONE, _SIGN = re.compile(_SIGNS), re.compile(rf"{_SIGNS}|(?<=\s)-(?=\s)")
_WORD_OR_SIGN = re.compile(rf"{_SIGN.pattern}|\w+(?:['’.-]\w+)*")
_LETTERS = re.compile(r"[^\W\d_]")
_LETTERS_ASCII = string.ascii_letters.encode()
_BEYOND_LATIN = re.compile("[\u0370-\u1cff\u2c00-\ud7ff\uf900-\ufdff\ufe70-\uff20\uff5b-\U0003ffff]")
_LATIN = re.compile("[a-zA-Z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff\uff21-\uff5a]")
_WORD = re.compile(r"[^\W\d_]+")
# The commonest words of English.
COMMON = word_set("""
    the be to of and a in that have it for not on with he as you do at this but his by from they we say
    her she or an will my one all would there their what so up out if about who get which go me when make
    can like no just him know take into your some them than then its over also use how our these any is
    are was were has had been don didn doesn isn wasn won couldn wouldn m ll ve re d s t may must should
    each other only such using used given whether between because does where while
""")
_CONTRACTED = word_set("m ll ve re d s t")  # of COMMON; alone they are words of other languages
# Common in English and rare in other languages that are written in Latin letters.
_ENGLISH = word_set("""
    the and of to that is was for it with this be are which by from at his her not you they have had were their been
    would there what who will when them all has your can said if about out up into could than other these my she we
    only its then did how more after over should where our just any must
""")
_ENGLISH_SHARE = 0.13  # of a text's words: English prose has 0.25 to 0.45, no other language of the UDHR above 0.1
_LETTER_SHARE = 0.72  # of what is no space: language has more, tables and code have less
_FOREIGN_SHARE = 0.04  # below it a long text is not English, whatever the detector takes it for
_COMMON_SHARE = 0.12  # of `COMMON` in short texts; other languages may have more there ("a", "do", "me")
_SHORTEST = 24  # letters from which on a text shows what language it is not
_SHORT = 300  # letters up to which the few words of `_ENGLISH` may be missing in English
_SEEN = 4000  # characters of a text that are looked at ...
_HEAD, _SURELY = 600, 0.2  # ... and of those looked at first; of their words that many are `_ENGLISH` in English only


def units_of(text: str) -> list[str]:
    """What stands for the words of a text when texts are compared: lower-cased words with their vowel signs, and in
    scripts without spaces (Chinese, Japanese, Thai, Lao, Burmese, Khmer) overlapping pieces of 4 or 8 letters."""
    if text.isascii() or not (_MARKED.search(text) or _ANY_UNSPACED.search(text)):
        return words_of(text)
    units: list[str] = []
    for word in _marked_word().findall(text.lower()):
        place = 0
        for run in _RUN.finditer(word):
            units += [word[place : run.start()]] if run.start() > place else []
            size = _piece(run[0])
            units += [run[0][i : i + size] for i in range(max(1, len(run[0]) - size + 1))]
            place = run.end()
        units += [word[place:]] if place < len(word) else []
    return units


def words_and_signs(text: str) -> list[str]:
    """`units_of` a text, with the signs between them that are no punctuation (operators, emoji)."""
    units = units_of(text)
    if not (_SIGN_ALONE.search(text) or " - " in text):
        return units
    found = _WORD_OR_SIGN.findall(text.lower())
    signs = sum(_SIGN.fullmatch(one) is not None for one in found)
    return found if len(found) - signs == len(units) else [*units, *signs_of(text)]


def signs_of(text: str) -> list[str]:
    """Signs that are neither letters nor punctuation of sentences: operators, emoji, currencies."""
    return sorted(_SIGN.findall(text))


def count_text_words(text: str) -> int:
    """Words of a text: what spaces separate; where words are not spaced, as many as its letters would make."""
    if text.isascii() or not _ANY_UNSPACED.search(text):
        return len(text.split())
    count = 0
    for script, letters, _ in _UNSPACED:
        size = sum(map(len, script.findall(text)))
        count += -(-size // letters)
        text = script.sub(" ", text)
    return count + sum(any(char.isalnum() for char in word) for word in text.split())


def is_other_script(text: str) -> bool:
    """Whether most letters of a text are not Latin ones."""
    if text.isascii() or not _BEYOND_LATIN.search(text):
        return False
    letters = len(_LETTERS.findall(text))
    return letters > 0 and len(_LATIN.findall(text)) < 0.5 * letters


def is_foreign(text: str) -> bool:
    """Whether a text is in another script or language than English: it is language, and it is not English.

    Not what is no running language at all (tables, code, numbers), nor what has fewer than 24 letters in Latin script.
    """
    if (head := text[:_HEAD].lower().split()) and sum(word in _ENGLISH for word in head) >= _SURELY * len(head):
        return False
    text = text[:_SEEN]
    if is_other_script(text):
        return True
    if text.isascii():
        letters = len(text) - len(text.encode().translate(None, _LETTERS_ASCII))
    else:
        letters = len(_LETTERS.findall(text))
    words = _WORD.findall(text.lower())
    count = max(1, sum(map(_has_letter, text.split())))
    if letters < _SHORTEST or letters < _LETTER_SHARE * sum(map(len, text.split())):
        return False
    if letters < _SHORT:
        if sum(word in COMMON and word not in _CONTRACTED for word in words) >= _COMMON_SHARE * count:
            return False
    else:
        share = sum(word in _ENGLISH for word in words) / count
        if share >= _ENGLISH_SHARE or share < _FOREIGN_SHARE:
            return share < _FOREIGN_SHARE
    from resiliparse.parse.lang import detect_fast  # late: slow to import

    return str(detect_fast(text)[0]) != "en"


def _has_letter(word: str) -> bool:
    return word[:1].isalpha() or word[-1:].isalpha()


def _piece(run: str) -> int:
    return next((size for script, _, size in _UNSPACED if script.match(run)), 1)


@cache
def _marked_word() -> re.Pattern[str]:
    """Runs of letters, digits and the combining marks (vowel signs among them) that `\\w` leaves out."""
    marks = (code for code in range(0x300, 0x20000) if unicodedata.category(chr(code))[0] == "M")
    ranges: list[list[int]] = []
    for code in marks:
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    inside = "".join(f"{chr(a)}-{chr(b)}" for a, b in ranges) + chr(0xE0100) + "-" + chr(0xE01EF)
    return re.compile(rf"[\w\u200c\u200d{inside}]+(?:['’.-][\w{inside}]+)*")
