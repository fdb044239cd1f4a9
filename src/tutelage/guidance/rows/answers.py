"""Detect formal faults of answers: truncated, refusing, or in another language than the others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from tutelage.corpus.language import BY_LETTERS, UNKNOWN, language_of
from tutelage.corpus.selection.features import Floats
from tutelage.guidance.rows.suspicion import off_topic

FEWEST_WORDS = 8  # of an answer whose end is judged
_CUT = 0.05  # prior probability that an answer is truncated
_FOLDS = 5
_OPENING, _CLOSING = "([{“«", ")]}”»"
_REFUSED = 0.7  # doubt of a refusal if refusals are rare
_SURE = 80  # characters from which on the language detector is mostly right
_USUAL = 0.65  # share of answers in one language above which others are doubted
_FOREIGN = 0.95  # maximum doubt of another language
_FAR = 1 << 20  # maximum distance for which the detector names a language
REFUSAL = re.compile(
    r"^\W*(?:(?:i['’]?m|i am|we are) (?:unable|not able) to\b"
    r"|(?:(?:i['’]?m|i am|we are) (?:very |so |really )?)?(?:sorry|afraid|unfortunately|apologies)\b.{0,60}"
    r"\b(?:can['’]?t|cannot|can not|unable|not able|won['’]?t)\b"
    r"|i (?:can['’]?t|cannot|can not|won['’]?t|will not) "
    r"(?:help|assist|provide|answer|do that|fulfil|comply|create|write)"
    r"|as an? (?:ai|artificial intelligence|large language|language)\b"
    r"|i (?:don['’]?t|do not) (?:feel comfortable|have (?:personal )?(?:opinions|feelings|the ability)))",
    re.IGNORECASE,
)  # fmt: skip


def broken_off(answers: Sequence[str], seed: int = 0) -> Floats:
    """Doubt that an answer is complete: its end is more similar to positions inside answers than to their ends.

    Learned from the other answers of the file: their ends against a random position within each, by the last two words,
    the last character, and unclosed brackets or quotes. An answer truncated at the end of a sentence cannot be
    detected. 0 for answers of less than eight words.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    found = np.zeros(len(answers))
    judged = np.array([at for at, one in enumerate(answers) if len(one.split()) >= FEWEST_WORDS], np.int64)
    if len(judged) < 4 * _FOLDS:
        return found
    chance = np.random.default_rng(seed)
    ends = [_end(answers[at]) for at in judged]
    cuts = [_end(cut(answers[at], float(chance.uniform()))) for at in judged]
    fold = chance.permutation(np.arange(len(judged)) % _FOLDS)
    for part in range(_FOLDS):
        fitted, asked = np.flatnonzero(fold != part), np.flatnonzero(fold == part)
        model = make_pipeline(
            CountVectorizer(analyzer=str.split, lowercase=False, binary=True), LogisticRegression(C=10.0, max_iter=300)
        )
        model.fit([ends[at] for at in fitted] + [cuts[at] for at in fitted], [0] * len(fitted) + [1] * len(fitted))
        inside = model.predict_proba([ends[at] for at in asked])[:, 1]
        odds = inside / np.maximum(1 - inside, 1e-6) * _CUT / (1 - _CUT)
        found[judged[asked]] = odds / (1 + odds)
    return found


def cut(text: str, share: float) -> str:
    """The text truncated after a word between its fourth and its last but one; `share`: relative position, 0 to 1."""
    words = [match.end() for match in re.finditer(r"\S+", text)]
    return text[: words[3 + int(share * max(1, len(words) - 4))]]


def refusals(answers: Sequence[str]) -> Floats:
    """Doubt of an answer with a typical English refusal of chat models; less if there are many, as they are then
    probably intended."""
    refused = np.array([bool(REFUSAL.match(one)) for one in answers], bool)
    return np.where(refused, _REFUSED * (1 - float(refused.mean())) if len(answers) else 0.0, 0.0)


def other_language(answers: Sequence[str], seed: int = 0) -> tuple[Floats, list[str]]:
    """(doubt, language) of answers in another language than that of two thirds of the answers.

    The detector alone is often wrong on short texts, arithmetic and names. So the doubt is that of `off_topic` (unusual
    words among the answers) for answers that it finds closer to another language, and 0 for all others.
    """
    said = [language_of(one) for one in answers]
    sure = [of for one, of in zip(answers, said, strict=True) if len(one) >= _SURE and of != UNKNOWN]
    counted = Counter(sure)
    usual, most = counted.most_common(1)[0] if counted else (UNKNOWN, 0)
    if not counted or most < _USUAL * counted.total():
        return np.zeros(len(answers)), said
    other = np.array([_is_other(one, of, usual) for one, of in zip(answers, said, strict=True)])
    return np.minimum(_FOREIGN, off_topic(answers, seed)) * other, said


def _is_other(text: str, language: str, usual: str) -> bool:
    """Whether the detector, on letters only, finds the text closer to another language than to the usual one."""
    from resiliparse.parse.lang import detect_fast  # imported late, as it is slow

    if language in (usual, UNKNOWN) or usual not in BY_LETTERS:
        return language not in (usual, UNKNOWN)
    return str(detect_fast(" ".join(re.findall(r"[^\W\d_]+", text)), cutoff=_FAR)[0]) != usual


def _end(text: str) -> str:
    """Features of the end of a text, as words."""
    words = text.rstrip().split()[-2:]
    last = words[-1]
    sign = last[-1] if not last[-1].isalnum() else "9" if last[-1].isdigit() else "a"
    opened = any(text.count(a) > text.count(b) for a, b in zip(_OPENING, _CLOSING, strict=True))
    left = int(opened) + 2 * (text.count('"') % 2) + 4 * (text.count("```") % 2)
    lines = text.rstrip().split("\n")
    form = "list" if len(lines) > 1 and not lines[-1][:1].isalpha() else "lines" if len(lines) > 1 else "one"
    return f"w={last.lower()} p={'_'.join(words).lower()} s={sign} o={left} f={form} fs={form}{sign}"
