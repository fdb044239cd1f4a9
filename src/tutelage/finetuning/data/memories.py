"""Translation memories and catalogues as rows with a column for each language: TMX, XLIFF and gettext's PO."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from tutelage.store.errors import InputError
from tutelage.store.text import reason

MEMORIES = (".tmx", ".xlf", ".xliff", ".po")
# Elements whose content is a code of the program that the text came from, not text.
_CODES = {"bpt", "ept", "ph", "it", "ut", "x", "bx", "ex", "sc", "ec", "cp"}
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_DRAFT = {"new", "needs-translation", "needs-review-translation", "needs-adaptation", "needs-l10n", "initial"}
_PO_LINE = re.compile(r'(msgctxt|msgid_plural|msgid|msgstr(?:\[\d+\])?)?\s*(".*")\s*$')
UNTRANSLATED, DRAFT, ONE_LANGUAGE = "not translated", "its translation is marked as a draft", "has one language only"


def read_memory(name: str, data: bytes) -> tuple[str, list[dict[str, Any] | str], list[str]]:
    """(kind, rows or what is wrong with each, notes). Raises InputError for what is no file of that kind."""
    suffix = name.lower()
    if suffix.endswith(".po"):
        rows, language = _po(name, data)
        return "gettext catalogue", rows, [f"its language is {language}"] if language else []
    kind = "TMX" if suffix.endswith(".tmx") else "XLIFF"
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError) as error:
        raise InputError(f"{name} is not {kind}: {reason(error)}") from None
    rows = list(_tmx(root) if kind == "TMX" else _xliff(root))
    if not rows:
        raise InputError(f"{name} holds no {'translation units' if kind == 'TMX' else 'units'}")
    return kind, rows, []


def _tmx(root: ElementTree.Element) -> Iterator[dict[str, Any] | str]:
    """TMX 1.4b: the source language of the header comes first; variants of a language count as one."""
    header = root.find("header")
    first = _base(header.get("srclang", "") if header is not None else "")
    for unit in root.iter("tu"):
        said: dict[str, str] = {}
        for variant in unit.iter("tuv"):
            text = variant.find("seg")
            language = _base(variant.get(_LANG) or variant.get("lang") or "")
            if text is not None and language:
                said.setdefault(language, _text(text))
        ordered = dict(sorted(said.items(), key=lambda pair: pair[0] != first))
        yield ordered if len(ordered) > 1 else ONE_LANGUAGE


def _xliff(root: ElementTree.Element) -> Iterator[dict[str, Any] | str]:
    """XLIFF 1.2 (trans-unit) and 2 (segment)."""
    names = _base(root.get("srcLang", "")), _base(root.get("trgLang", ""))
    for file in (one for one in root.iter() if _tag(one) == "file"):
        source = names[0] or _base(file.get("source-language", "")) or "source"
        target = names[1] or _base(file.get("target-language", "")) or "target"
        for unit in (one for one in file.iter() if _tag(one) in ("trans-unit", "segment")):
            parts = {_tag(one): one for one in unit}
            translated = _text(parts["target"]) if "target" in parts else ""
            state = (parts["target"].get("state") if "target" in parts else None) or unit.get("state")
            if "source" not in parts or not translated.strip():
                yield UNTRANSLATED
            elif state in _DRAFT:
                yield DRAFT
            else:
                yield {source: _text(parts["source"]), target: translated}


def _po(name: str, data: bytes) -> tuple[list[dict[str, Any] | str], str]:
    """Entries of a catalogue: the singular of those with plurals; obsolete ones do not count."""
    charset = re.search(rb"charset=([\w-]+)", data[:4096])
    try:
        text = data.decode(charset[1].decode() if charset and charset[1] != b"CHARSET" else "utf-8")
    except (UnicodeDecodeError, LookupError) as error:
        raise InputError(f"{name} cannot be decoded: {reason(error)}") from None
    rows: list[dict[str, Any] | str] = []
    language = ""
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
        fields: dict[str, str] = {}
        key, fuzzy = "", False
        for line in block.split("\n"):
            if line.startswith("#"):
                fuzzy |= line.startswith("#,") and "fuzzy" in line
            elif found := _PO_LINE.match(line):
                key = found[1] or key
                fields[key] = fields.get(key, "") + _unquoted(found[2])
        translated = fields.get("msgstr", fields.get("msgstr[0]", ""))
        if not fields.get("msgid"):  # the header
            stated = re.search(r"^Language:\s*(\S+)", translated, re.MULTILINE)
            language = stated[1] if stated and "msgid" in fields else language
        elif not translated.strip():
            rows.append(UNTRANSLATED)
        else:
            rows.append(DRAFT if fuzzy else {"source": fields["msgid"], "target": translated})
    if not rows:
        raise InputError(f"{name} holds no entries of a gettext catalogue")
    return rows, language


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(text, strict=False))
    except ValueError:  # an escape that JSON does not have
        return text[1:-1].replace('\\"', '"').replace("\\n", "\n").replace("\\t", "\t")


def _text(element: ElementTree.Element) -> str:
    """The text of a segment without the codes in it."""
    inner = (("" if _tag(one) in _CODES else _text(one)) + (one.tail or "") for one in element)
    return (element.text or "") + "".join(inner)


def _tag(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _base(language: str) -> str:
    """The language without its region: "en" of "en-US"."""
    return re.split(r"[-_]", language.strip().lower())[0]
