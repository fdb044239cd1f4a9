"""IFEval: whether an answer follows verifiable instructions (Zhou et al. 2023, arXiv:2311.07911).

The 25 kinds of instruction in its prompts. Sentences and languages are detected by simple rules (`split_sentences`,
`speaks`), where the authors use trained models; everything else follows their definitions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from tutelage.corpus.sentences import split_sentences
from tutelage.store.errors import InputError

_OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_SCRIPTS = {
    "ar": "\u0600-\u06ff", "fa": "\u0600-\u06ff", "ur": "\u0600-\u06ff", "hi": "\u0900-\u097f", "mr": "\u0900-\u097f",
    "ne": "\u0900-\u097f", "bn": "\u0980-\u09ff", "pa": "\u0a00-\u0a7f", "gu": "\u0a80-\u0aff", "ta": "\u0b80-\u0bff",
    "te": "\u0c00-\u0c7f", "kn": "\u0c80-\u0cff", "ru": "\u0400-\u04ff", "bg": "\u0400-\u04ff", "uk": "\u0400-\u04ff",
    "el": "\u0370-\u03ff", "he": "\u0590-\u05ff", "th": "\u0e00-\u0e7f", "ko": "\uac00-\ud7af", "zh": "\u4e00-\u9fff",
    "ja": "\u3040-\u30ff",
}  # fmt: skip
_COMMON = {
    "en": "the and of to is that it for with as was are", "de": "der die und das ist nicht ein mit von zu den auf",
    "fr": "le la les et des est une que pour dans pas du", "es": "el los las que es una por con para del y se",
    "it": "il che di la per una non sono del con gli è", "pt": "o que os uma não para com do da em é um",
    "fi": "ja on ei se että oli hän ovat mutta myös kun niin", "sw": "ya na wa kwa ni katika za la cha hii kama yake",
    "vi": "và của là có không được một cho trong những các với", "nl": "de het een en van is niet dat op te met zijn",
    "pl": "i w na nie się z do to jest że o jak",
}  # fmt: skip


def kept(row: Mapping[str, Any], text: str) -> dict[str, float]:
    """Whether all instructions of a prompt are followed (`prompt_strict`), the share of them (`share_strict`), and the
    same when the first or last line and emphasis marks may be ignored (`prompt_loose`, `share_loose`).

    Raises InputError for an instruction of an unknown kind.
    """
    names, arguments = row["instruction_id_list"], row["kwargs"]
    rules = [_rule(name) for name in names]
    given = [{key: value for key, value in one.items() if value is not None} for one in arguments]
    strict = [_keeps(rule, text, one) for rule, one in zip(rules, given, strict=True)]
    loose = [any(_keeps(rule, each, one) for each in _loosely(text)) for rule, one in zip(rules, given, strict=True)]
    return {
        "prompt_strict": float(all(strict)), "share_strict": sum(strict) / len(strict),
        "prompt_loose": float(all(loose)), "share_loose": sum(loose) / len(loose),
    }  # fmt: skip


def speaks(text: str, language: str) -> bool:
    """Whether a text is in a language (ISO 639-1), by script or common words; True for unsupported languages."""
    letters = [char for char in text if char.isalpha()]
    if not letters:
        return True
    if language in _SCRIPTS:
        inside = re.findall(f"[{_SCRIPTS[language]}]", text)
        return 2 * len(inside) > len(letters) or (language == "ja" and len(inside) > 0)
    if language not in _COMMON:
        return True
    words = re.findall(r"\w+", text.lower())
    counts = {name: sum(word in common.split() for word in words) for name, common in _COMMON.items()}
    return counts[language] == max(counts.values())


def _keeps(rule: Callable[..., bool], text: str, arguments: Mapping[str, Any]) -> bool:
    return bool(text.strip()) and bool(rule(text, **arguments))


def _loosely(text: str) -> list[str]:
    lines = text.split("\n")
    parts = [text, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return [*parts, *(part.replace("*", "") for part in parts)]


def _rule(name: str) -> Callable[..., bool]:
    if name not in _RULES:
        raise InputError(f"unknown IFEval instruction {name!r}")
    return _RULES[name]


def _enough(count: int, relation: str, wanted: float) -> bool:
    return count < wanted if relation == "less than" else count >= wanted


def _keywords(text: str, keywords: list[str]) -> bool:
    return all(re.search(keyword, text, re.IGNORECASE) for keyword in keywords)


def _forbidden(text: str, forbidden_words: list[str]) -> bool:
    return not any(re.search(rf"\b{word}\b", text, re.IGNORECASE) for word in forbidden_words)


def _keyword_frequency(text: str, keyword: str, frequency: int, relation: str) -> bool:
    return _enough(len(re.findall(keyword.strip(), text, re.IGNORECASE)), relation, frequency)


def _letter_frequency(text: str, letter: str, let_frequency: int, let_relation: str) -> bool:
    return _enough(text.lower().count(letter.lower()), let_relation, let_frequency)


def _paragraphs(text: str, num_paragraphs: int) -> bool:
    parts = re.split(r"\s?\*\*\*\s?", text)
    if any(not part.strip() for part in parts[1:-1]):
        return False
    return sum(bool(part.strip()) for part in parts) == num_paragraphs


def _first_word(text: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    parts = text.split("\n\n")
    count = sum(bool(part.strip()) for part in parts)
    if nth_paragraph > count or not parts[nth_paragraph - 1].strip():
        return False
    word = parts[nth_paragraph - 1].split()[0].lstrip("'").lstrip('"')
    word = re.split(r"[.,?!'\"]", word)[0].lower()
    return count == num_paragraphs and word == first_word.lower()


def _postscript(text: str, postscript_marker: str) -> bool:
    known = {"P.P.S": r"\s*p\.\s?p\.\s?s.*$", "P.S.": r"\s*p\.\s?s\..*$"}
    pattern = known.get(postscript_marker, r"\s*" + postscript_marker.lower() + r".*$")
    return bool(re.search(pattern, text.lower(), re.MULTILINE))


def _sections(text: str, section_spliter: str, num_sections: int) -> bool:
    return len(re.split(rf"\s?{section_spliter.strip()}\s?\d+\s?", text)) - 1 >= num_sections


def _bullets(text: str, num_bullets: int) -> bool:
    stars = re.findall(r"^\s*\*[^\*].*$", text, re.MULTILINE)
    return len(stars) + len(re.findall(r"^\s*-.*$", text, re.MULTILINE)) == num_bullets


def _highlights(text: str, num_highlights: int) -> bool:
    single = [one for one in re.findall(r"\*[^\n\*]*\*", text) if one.strip("*").strip()]
    double = [one for one in re.findall(r"\*\*[^\n\*]*\*\*", text) if one.strip("*").strip()]
    return len(single) + len(double) >= num_highlights


def _json(text: str) -> bool:
    bare = text.strip()
    for begin in ("```json", "```Json", "```JSON", "```"):
        bare = bare.removeprefix(begin)
    try:
        json.loads(bare.removesuffix("```").strip())
    except ValueError:
        return False
    return True


def _two_responses(text: str) -> bool:
    parts = text.split("******")
    if any(not part.strip() for part in parts[1:-1]):
        return False
    said = [part.strip() for part in parts if part.strip()]
    return len(said) == 2 and said[0] != said[1]


def _capital_words(text: str, capital_frequency: int, capital_relation: str) -> bool:
    words = re.findall(r"[^\W\d_][\w'-]*", text)
    return _enough(sum(word.isupper() for word in words), capital_relation, capital_frequency)


_RULES: dict[str, Callable[..., bool]] = {
    "keywords:existence": _keywords,
    "keywords:forbidden_words": _forbidden,
    "keywords:frequency": _keyword_frequency,
    "keywords:letter_frequency": _letter_frequency,
    "language:response_language": lambda text, language: speaks(text, language),
    "length_constraints:number_sentences": lambda text, num_sentences, relation: _enough(
        sum(len(split_sentences(line)) for line in text.splitlines()), relation, num_sentences
    ),
    "length_constraints:number_words": lambda text, num_words, relation: _enough(
        len(re.findall(r"\w+", text)), relation, num_words
    ),
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:nth_paragraph_first_word": _first_word,
    "detectable_content:number_placeholders": lambda text, num_placeholders: (
        len(re.findall(r"\[.*?\]", text)) >= num_placeholders
    ),
    "detectable_content:postscript": _postscript,
    "detectable_format:constrained_response": lambda text: any(option in text for option in _OPTIONS),
    "detectable_format:json_format": _json,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:title": lambda text: any(
        title.lstrip("<").rstrip(">").strip() for title in re.findall(r"<<[^\n]+>>", text)
    ),
    "combination:repeat_prompt": lambda text, prompt_to_repeat: (
        text.strip().lower().startswith(prompt_to_repeat.strip().lower())
    ),
    "combination:two_responses": _two_responses,
    "change_case:capital_word_frequency": _capital_words,
    "change_case:english_capital": lambda text: text.isupper() and speaks(text, "en"),
    "change_case:english_lowercase": lambda text: text.islower() and speaks(text, "en"),
    "punctuation:no_comma": lambda text: "," not in text,
    "startend:end_checker": lambda text, end_phrase: (
        text.strip().strip('"').lower().endswith(end_phrase.strip().lower())
    ),
    "startend:quotation": lambda text: len(text.strip()) > 1 and text.strip()[0] == text.strip()[-1] == '"',
}
