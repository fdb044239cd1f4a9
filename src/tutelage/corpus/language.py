"""What language a text is in, offline: by its script where that decides, else by the detector of resiliparse.

The detector comes with its model inside a package that is required anyway (101 languages, about 40 kB).
"""

from __future__ import annotations

import re

from tutelage.corpus.sentences import word_set

LANGUAGES = word_set("""
    af ar as az ba be bg bn bo br ca ce cs cv cy da de dv el en eo es et eu fa fi fo fr fy ga gd gl gu ha he hi hr hu hy
    id io is it ja jv ka kk km kn ko ku ky la lb lo lt lv mg mk ml mn mr mt my ne nl no or pa pl ps pt rm ro ru sa sc sd
    si sk sl so sq sr sv sw ta te tg th tk tl tr tt ug uk ur uz vi vo yi zh
""")
UNKNOWN = "unknown"
# Scripts of one language, or nearly so; kana among Chinese characters is Japanese.
_SCRIPTS = {
    "ja": "\u3040-\u30ff\u31f0-\u31ff", "ko": "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af", "th": "\u0e00-\u0e7f",
    "lo": "\u0e80-\u0eff", "my": "\u1000-\u109f\uaa60-\uaa7f", "km": "\u1780-\u17ff",
    "el": "\u0370-\u03ff\u1f00-\u1fff",
    "hy": "\u0530-\u058f", "ka": "\u10a0-\u10ff\u2d00-\u2d2f", "ta": "\u0b80-\u0bff", "te": "\u0c00-\u0c7f",
    "kn": "\u0c80-\u0cff", "ml": "\u0d00-\u0d7f", "si": "\u0d80-\u0dff", "gu": "\u0a80-\u0aff", "pa": "\u0a00-\u0a7f",
    "or": "\u0b00-\u0b7f", "bo": "\u0f00-\u0fff", "dv": "\u0780-\u07bf",
}  # fmt: skip
BY_LETTERS = tuple(sorted(LANGUAGES - set(_SCRIPTS)))
"""Languages that share their script with others, so that the detector tells them."""
_BY_SCRIPT = {language: re.compile(f"[{letters}]") for language, letters in _SCRIPTS.items()}
_ANY_SCRIPT = re.compile(f"[{''.join(_SCRIPTS.values())}]")
_LOOKED_AT, _FEWEST = 4000, 20  # characters of a text; letters that tell a language
_SHARE, _KANA = 0.5, 0.05  # of the letters


def language_of(text: str) -> str:
    """ISO 639-1 code of the main language of a text; `unknown` where letters are too few or the detector is not sure.

    Right for the Universal Declaration of Human Rights in each of 45 languages, and for 88 % of its paragraphs: related
    languages (Danish and Norwegian, Spanish and Catalan) are told apart in long texts only.
    """
    text = text[:_LOOKED_AT]
    letters = sum(map(str.isalpha, text))
    if letters < _FEWEST:
        return UNKNOWN
    if not text.isascii() and _ANY_SCRIPT.search(text):
        for language, script in _BY_SCRIPT.items():
            least = _KANA if language == "ja" else _SHARE
            if len(script.findall(text)) >= least * letters:
                return language
    from resiliparse.parse.lang import detect_fast  # late: slow to import

    return str(detect_fast(text)[0])
