"""Parallel text: a table with a column for each language, or two files with a sentence a line each."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tutelage.finetuning.data.audit import Audit, Findings, listed
from tutelage.finetuning.data.fields import Fields, check_columns, text_of
from tutelage.finetuning.data.reading import account, convert_all
from tutelage.finetuning.data.records import Source, read_records
from tutelage.finetuning.data.rows import Row
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.hashing import sha256_json
from tutelage.store.text import read_text, without_compression

COLUMNS = ("source", "target")
SOURCE = ("source", "src", "source_text", "original", "input")
TARGET = ("target", "tgt", "target_text", "translation", "reference", "output")
LANGUAGES = {
    "ar": "Arabic", "bg": "Bulgarian", "ca": "Catalan", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek",
    "en": "English", "es": "Spanish", "et": "Estonian", "eu": "Basque", "fa": "Persian", "fi": "Finnish",
    "fr": "French", "ga": "Irish", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian",
    "id": "Indonesian", "is": "Icelandic", "it": "Italian", "ja": "Japanese", "ko": "Korean", "la": "Latin",
    "lt": "Lithuanian", "lv": "Latvian", "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese",
    "ro": "Romanian", "ru": "Russian", "sk": "Slovak", "sl": "Slovenian", "sr": "Serbian", "sv": "Swedish",
    "sw": "Swahili", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
THREE = {  # ISO 639-3 and 639-2/B, as FLORES ("eng_Latn") and OPUS name columns
    "ara": "ar", "arb": "ar", "bul": "bg", "cat": "ca", "ces": "cs", "cze": "cs", "dan": "da", "deu": "de", "ger": "de",
    "ell": "el", "gre": "el", "eng": "en", "spa": "es", "est": "et", "ekk": "et", "eus": "eu", "baq": "eu", "fas": "fa",
    "pes": "fa", "per": "fa", "fin": "fi", "fra": "fr", "fre": "fr", "gle": "ga", "heb": "he", "hin": "hi", "hrv": "hr",
    "hun": "hu", "ind": "id", "isl": "is", "ice": "is", "ita": "it", "jpn": "ja", "kor": "ko", "lat": "la", "lit": "lt",
    "lav": "lv", "lvs": "lv", "nld": "nl", "dut": "nl", "nor": "no", "nob": "no", "nno": "no", "pol": "pl", "por": "pt",
    "ron": "ro", "rum": "ro", "rus": "ru", "slk": "sk", "slo": "sk", "slv": "sl", "srp": "sr", "swe": "sv", "swa": "sw",
    "swh": "sw", "tha": "th", "tur": "tr", "ukr": "uk", "vie": "vi", "zho": "zh", "chi": "zh", "cmn": "zh",
}  # fmt: skip
_CODES = LANGUAGES | {code: LANGUAGES[two] for code, two in THREE.items()}
_CODES |= {name.lower(): name for name in LANGUAGES.values()}
WANTED = "two columns (source and target, or named by their languages), or two files with a sentence a line each"


def read_translations(
    path: Path, log: EventLog, columns: Mapping[str, str] | None = None, target: Path | None = None
) -> tuple[list[Row], Audit, tuple[str, str]]:
    """Rows {"id","source","target"}, the account of the file, and the names of both languages ("" where unknown).

    `target`: the file with the other side, line by line, where `path` holds one side alone. Raises InputError where the
    columns cannot be told, the files differ in length, or no row can be used.
    """
    if target is None and path.is_file() and _language(_suffix(path)):
        raise InputError(f"{path.name} holds one language", hint="name the other side's file: --target FILE")
    known = {*SOURCE, *TARGET, *_CODES}
    source = read_records(path, known, columns) if target is None else _aligned(path, target)
    table = source.unit == "line" and source.format != "JSON lines" and len(source.columns) == 2
    if table and not columns and not any(name.lower() in known or _language(name) for name in source.columns):
        # Two short sentences look like a header; parallel text has one only if its column names are known.
        columns = {"source": "1", "target": "2"}
        source = read_records(path, known, columns)
    check_columns(columns, COLUMNS, source.columns, source.file)
    if source.columns == ["translation"]:  # {"translation": {"en": ..., "de": ...}}, as `datasets` has it
        source = _unfolded(source)
    chosen = _columns(source, columns or {})
    named = (_language(chosen["source"]), _language(chosen["target"]))
    if target is not None:
        named = (_language(_suffix(path)), _language(_suffix(target)))
    rows, found = convert_all(source, _pair, WANTED, chosen)
    found.notes.append(f"the source is {chosen['source']!r}, the target {chosen['target']!r}")
    return rows, account(source, rows, found, log), named


def _pair(fields: Fields, found: Findings) -> tuple[str, str, Row]:
    row = {side: text_of(fields.take(side), side) for side in COLUMNS}
    if row["source"] == row["target"]:
        found.noted["source and target are equal"] += 1
    return "source,target", sha256_json(row)[:16], row


def _columns(source: Source, given: Mapping[str, str]) -> dict[str, str]:
    there = {name.strip().lower(): name for name in reversed(source.columns)}
    chosen = dict(given)
    for side, names in (("source", SOURCE), ("target", TARGET)):
        if side not in chosen and (name := next((name for name in names if name in there), None)):
            chosen[side] = there[name]
    if len(chosen) < 2:
        languages = [name for name in source.columns if _language(name) and name not in chosen.values()]
        if len(languages) > 2:  # an identifier, which is the code of Indonesian as well
            languages = [name for name in languages if name.strip().lower() != "id"]
        others = languages if languages else [name for name in source.columns if name not in chosen.values()]
        missing = [side for side in COLUMNS if side not in chosen]
        if len(others) != len(missing):
            shown = listed([repr(name) for name in source.paths], 12)
            raise InputError(
                f"{source.file}: which columns are source and target cannot be told from {shown}",
                hint="name them: --column source=NAME --column target=NAME; without a header by number: source=1",
            )
        chosen |= dict(zip(missing, others, strict=True))
    return {side: chosen[side] for side in COLUMNS}


def _language(name: str) -> str:
    """English's name of a language that a column or a file is named by ("de", "de_DE", "german"); else nothing."""
    pieces = re.split(r"[-_. ]", name.strip().lower())
    for word in pieces[:1] if len(pieces) == 1 or pieces[-1] not in _CODES else (pieces[0], pieces[-1]):
        if found := _CODES.get(word):
            return found
    return ""


def _suffix(path: Path) -> str:
    return Path(without_compression(path.name)).suffix.removeprefix(".")


def _aligned(path: Path, target: Path) -> Source:
    """Two line-aligned files; lines that are empty on both sides are skipped."""
    sides = [read_text(file).text.removesuffix("\n").split("\n") for file in (path, target)]
    if len(sides[0]) != len(sides[1]):
        raise InputError(
            f"{path.name} has {len(sides[0])} lines, {target.name} {len(sides[1])}: they are not aligned",
            hint="line n of one must be the translation of line n of the other",
        )
    pairs = enumerate(zip(*sides, strict=True), 1)
    records: list[tuple[int, dict[str, str] | str]] = [
        (number, {"source": a, "target": b}) for number, (a, b) in pairs if a.strip() or b.strip()
    ]
    return Source(f"{path.name} and {target.name}", "two aligned files", "utf-8", records)


def _unfolded(source: Source) -> Source:
    records = [
        (
            line,
            record["translation"]
            if isinstance(record, dict) and isinstance(record["translation"], dict)
            else "no pair",
        )
        for line, record in source.records
    ]
    return replace(source, records=records)


def as_questions(rows: Sequence[Row], ask: Callable[[str, bool], str], both: bool) -> list[Row]:
    """Each pair as a question and its answer; with `both`, of either direction. `source` stays beside them."""
    made = []
    for row in rows:
        for backwards in (False, True) if both else (False,):
            said, answer = (row["target"], row["source"]) if backwards else (row["source"], row["target"])
            prompt = ask(said, backwards)
            made.append({
                "id": row["id"] + ("b" if backwards else ""),
                "messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}],
                "prompt": prompt, "response": answer, "source": said,
            })  # fmt: skip
    return made
