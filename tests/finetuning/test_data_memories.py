"""Translation memories and catalogues: TMX, XLIFF, PO as rows with a column for each language."""

from __future__ import annotations

from pathlib import Path

import pytest

from tutelage.finetuning.data.memories import DRAFT, ONE_LANGUAGE, UNTRANSLATED, read_memory
from tutelage.finetuning.data.translations import read_translations
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog

TMX = """<?xml version="1.0" encoding="utf-8"?>
<tmx version="1.4"><header srclang="de-DE"/><body>
<tu><tuv xml:lang="EN-us">
<seg>The <bpt i="1">&lt;b&gt;</bpt>river<ept i="1">&lt;/b&gt;</ept> is <hi>high</hi>.</seg></tuv>
<tuv xml:lang="de-DE"><seg>Der Fluss ist hoch.</seg></tuv></tu>
<tu><tuv lang="de"><seg>Ja.</seg></tuv><tuv lang="en"><seg>Yes.</seg></tuv><tuv lang="en-GB"><seg>Aye.</seg></tuv></tu>
<tu><tuv xml:lang="de"><seg>Allein.</seg></tuv></tu>
</body></tmx>"""
XLIFF = """<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2">
<file source-language="en" target-language="fr-FR"><body>
<trans-unit id="1"><source>The <g id="1">river</g><x id="2"/> is high.</source>
<target>La rivière est haute.</target></trans-unit>
<trans-unit id="2"><source>Yes.</source><target/></trans-unit>
<trans-unit id="3"><source>No.</source></trans-unit>
<trans-unit id="4"><source>Perhaps.</source><target state="needs-translation">Perhaps.</target></trans-unit>
</body></file></xliff>"""
XLIFF_2 = """<xliff version="2.0" srcLang="en" trgLang="it" xmlns="urn:oasis:names:tc:xliff:document:2.0">
<file id="f"><unit id="u">
<segment state="final"><source>The river.</source><target>Il fiume.</target></segment>
<segment state="initial"><source>Yes.</source><target>Yes.</target></segment></unit></file></xliff>"""
PO = r"""msgid ""
msgstr ""
"Language: de\n"
"Content-Type: text/plain; charset=UTF-8\n"

#: a.py:1
msgctxt "menu"
msgid "The river\n"
"is \"high\"."
msgstr "Der Fluss\n"
"ist \"hoch\"."

#, fuzzy, python-format
msgid "Perhaps %s"
msgstr "Vielleicht"

msgid "One boat"
msgid_plural "%d boats"
msgstr[0] "Ein Boot"
msgstr[1] "%d Boote"

msgid "No."
msgstr ""

#~ msgid "Old"
#~ msgstr "Alt"
"""


def test_tmx_has_a_column_for_each_language_the_source_first() -> None:
    kind, rows, notes = read_memory("a.tmx", TMX.encode())
    assert kind == "TMX" and not notes
    assert rows == [
        {"de": "Der Fluss ist hoch.", "en": "The river is high."}, {"de": "Ja.", "en": "Yes."}, ONE_LANGUAGE,
    ]  # fmt: skip
    assert list(rows[0]) == ["de", "en"]
    assert read_memory("a.tmx", TMX.replace('"utf-8"', '"utf-16"').encode("utf-16"))[1] == rows


def test_xliff_gives_what_is_translated_and_says_what_is_not() -> None:
    assert read_memory("a.xlf", XLIFF.encode())[1] == [
        {"en": "The river is high.", "fr": "La rivière est haute."}, UNTRANSLATED, UNTRANSLATED, DRAFT,
    ]  # fmt: skip
    assert read_memory("a.xliff", XLIFF_2.encode())[1] == [{"en": "The river.", "it": "Il fiume."}, DRAFT]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_catalogue_gives_its_entries_but_no_fuzzy_ones(newline: str) -> None:
    kind, rows, notes = read_memory("de.po", PO.replace("\n", newline).encode())
    assert kind == "gettext catalogue" and notes == ["its language is de"]
    assert rows == [
        {"source": 'The river\nis "high".', "target": 'Der Fluss\nist "hoch".'}, DRAFT,
        {"source": "One boat", "target": "Ein Boot"}, UNTRANSLATED,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.tmx", "no xml", "is not TMX"),
        ("a.tmx", "<tmx/>", "holds no translation units"),
        ("a.xlf", "<xliff", "is not XLIFF"),
        ("a.xlf", "<other/>", "holds no units"),
        ("a.po", "Just a text.", "holds no entries"),
        ("a.po", 'msgid ""\nmsgstr "charset=klingon"\n', "cannot be decoded"),
    ],
)
def test_what_is_none_is_refused(name: str, text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        read_memory(name, text.encode())


def test_entities_do_not_blow_up() -> None:
    lines = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(12))
    bomb = f'<!DOCTYPE tmx [<!ENTITY e0 "aaaaaaaaaa">{lines}]><tmx><tu><tuv lang="en"><seg>&e12;</seg></tuv></tu></tmx>'
    with pytest.raises(InputError, match="is not TMX"):
        read_memory("a.tmx", bomb.encode())
    outside = '<!DOCTYPE tmx [<!ENTITY e SYSTEM "file:///etc/passwd">]><tmx><tu><tuv><seg>&e;</seg></tuv></tu></tmx>'
    with pytest.raises(InputError, match="is not TMX"):
        read_memory("a.tmx", outside.encode())


def test_a_memory_is_parallel_text(tmp_path: Path) -> None:
    (tmp_path / "a.tmx").write_text(TMX, encoding="utf-8")
    rows, audit, languages = read_translations(tmp_path / "a.tmx", EventLog())
    assert languages == ("German", "English")
    assert [(row["source"], row["target"]) for row in rows] == [
        ("Der Fluss ist hoch.", "The river is high."), ("Ja.", "Yes."),
    ]  # fmt: skip
    assert ONE_LANGUAGE in str(audit)
