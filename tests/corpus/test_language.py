"""Languages by script and detector, and no rule for English touches the others."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.document import read_documents
from tutelage.corpus.language import LANGUAGES, UNKNOWN, language_of
from tutelage.corpus.published.chain import FINEWEB
from tutelage.corpus.stage import build_corpus
from tutelage.store.errors import ConfigError
from tutelage.store.events import EventLog

# First article of the Universal Declaration of Human Rights.
ARTICLE = {
    "en": "All human beings are born free and equal in dignity and rights. They are endowed with reason.",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt.",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison.",
    "es": "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de razón.",
    "ru": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью.",
    "el": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "ar": "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق. وقد وهبوا عقلا وضميرا.",
    "ja": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "zh": "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。",
    "ko": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 천부적으로 이성과 양심을",
    "th": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "my": "လူတိုင်းသည် တူညီ လွတ်လပ်သော ဂုဏ်သိက္ခာဖြင့် လည်းကောင်း",
}
ISO = {
    "eng": "en", "fra": "fr", "spa": "es", "ita": "it", "nld": "nl", "swe": "sv", "fin": "fi", "pol": "pl", "hun": "hu",
    "tur": "tr", "rus": "ru", "ell_monotonic": "el", "arb": "ar", "heb": "he", "hin": "hi", "tha": "th", "jpn": "ja",
    "cmn_hans": "zh", "kor": "ko", "vie": "vi",
}  # fmt: skip


@pytest.mark.parametrize("language", ARTICLE)
def test_the_language_of_a_paragraph(language: str) -> None:
    assert language_of(ARTICLE[language]) == language and language in LANGUAGES


def test_what_is_too_short_or_no_language_is_unknown() -> None:
    assert [language_of(text) for text in ("", "Hello.", "1 + 1 = 2; " * 20)] == [UNKNOWN] * 3


def corpus(out: Path, texts: list[str], **settings: Any) -> tuple[dict[str, Any], set[str]]:
    out.mkdir()
    source = out / "rows.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    config = CorpusConfig.parse({"source": str(source), "max_overlap": 1.0, "measure_selection": False, **settings})
    build_corpus(config, out / "out", EventLog(), 1, 1)
    card = json.loads((out / "out" / "card.json").read_text(encoding="utf-8"))
    return card, {one.text for s in ("train", "heldout") for one in read_documents(out / "out" / f"{s}.parquet")}


def test_languages_are_kept_by_name_and_the_others_counted(tmp_path: Path) -> None:
    card, kept = corpus(tmp_path / "a", list(ARTICLE.values()), languages=["de", "ja"], prose=False)
    assert kept == {ARTICLE["de"], ARTICLE["ja"]}
    step = next(step for step in card["steps"] if step["name"] == "languages")
    assert step["removed"]["language: fr"] == 1 and sum(step["removed"].values()) == 10
    with pytest.raises(ConfigError, match="there is no language 'german'"):
        CorpusConfig.parse({"languages": ["german"]})


@pytest.mark.parametrize("settings", [{"prose": True}, {"prose": False, "rules": list(FINEWEB)}])
def test_rules_for_english_leave_other_languages_as_they_are(tmp_path: Path, settings: dict[str, Any]) -> None:
    others = [text for language, text in ARTICLE.items() if language != "en"]
    assert set(others) <= corpus(tmp_path / "a", list(ARTICLE.values()), **settings)[1]


@pytest.mark.slow
def test_the_declaration_in_twenty_languages_is_named_and_kept(tmp_path: Path) -> None:
    found = [
        path for root in Path(__file__).resolve().parents for path in root.glob("shared/data/nltk_corpora/udhr2.zip")
    ]
    if not found:
        pytest.skip("needs the UDHR of NLTK (udhr2.zip) beside the repository")
    with zipfile.ZipFile(found[0]) as file:
        texts = {code: file.read(f"udhr2/{name}.txt").decode("utf-8") for name, code in ISO.items()}
    texts = {code: re.sub(r"\n{2,}", "\n\n", text).strip()[:6000] for code, text in texts.items()}
    assert {code: language_of(text) for code, text in texts.items()} == {code: code for code in texts}
    card, kept = corpus(tmp_path / "a", list(texts.values()), rules=list(FINEWEB), prose=False)
    assert len(kept) >= 19 and sum(next(s for s in card["steps"] if s["name"] == "rules")["removed"].values()) <= 1
