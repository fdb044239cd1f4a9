"""Memory of the corpus stage by the number of documents, or by their size.

    python benchmarks/corpus_memory.py [--documents 100000 300000] [--words 30]
    python benchmarks/corpus_memory.py --books FOLDER --megabytes 100 300 1000
    python benchmarks/corpus_memory.py --source FILE FILE

The first: made-up sentences, no two alike; the stage alone in one process. The others: the whole of `tutelage corpus`
with its defaults, on documents of 10 to 25 sentences each, drawn at random from the books (text files) of a folder, so
that many documents share each sentence; or on sources as they are. Each size is a process of its own; the largest
resident size of it and of its workers.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import finish

from tutelage.corpus.boilerplate import without_gutenberg
from tutelage.corpus.sentences import split_sentences

_RUN = """
import resource, sys
from pathlib import Path
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.stage import build_corpus
from tutelage.store.events import EventLog

build_corpus(CorpusConfig(source=sys.argv[1]), Path(sys.argv[2]), EventLog(), seed=1, workers=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
_WHOLE = """
import json, resource, subprocess, sys
command = [sys.executable, "-m", "tutelage", "corpus", "--source", sys.argv[1], "--out", sys.argv[2], "--json"]
done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
metrics = next(one for one in json.loads(done.stdout)["stages"] if one["stage"] == "corpus")["metrics"]
print(json.dumps({
    "peak_megabytes": used.ru_maxrss * 1024 / 1e6, "cpu_seconds": used.ru_utime + used.ru_stime,
    "documents": metrics["documents"], "step_seconds": metrics["timing"],
}))
"""
_COMMON = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "a",
    "is",
    "that",
    "it",
    "was",
    "for",
    "on",
    "are",
    "with",
    "as",
    "his",
    "they",
    "at",
    "be",
    "this",
    "from",
    "have",
    "or",
    "by",
    "one",
    "had",
    "not",
]


def write_documents(path: Path, count: int, size: int) -> None:
    """Rows of so many words, every other of them a common one, ten to a sentence."""
    chance = random.Random(1)
    words = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(2, 9))) for _ in range(20_000)]
    with path.open("w", encoding="utf-8") as file:
        for _ in range(count):
            made = chance.choices(words, k=size)
            made[::2] = chance.choices(_COMMON, k=len(made[::2]))
            sentences = (" ".join(made[begin : begin + 10]).capitalize() for begin in range(0, size, 10))
            file.write(json.dumps({"text": " ".join(f"{one}." for one in sentences)}) + "\n")


def write_shared(path: Path, books: Path, size: int) -> None:
    """Rows of sentences of books, of so many bytes."""
    sentences = []
    for file in sorted(books.glob("*.txt")):
        for paragraph in without_gutenberg(file.read_text(encoding="utf-8"))[0].split("\n\n"):
            found = split_sentences(" ".join(paragraph.split()))
            sentences += [one for one in found if 20 <= len(one) <= 400]
    chance, written = random.Random(1), 0
    with path.open("w", encoding="utf-8") as rows:
        while written < size:
            row = json.dumps({"text": " ".join(chance.choices(sentences, k=chance.randint(10, 25)))}) + "\n"
            written += rows.write(row)


def whole(source: Path, out: str) -> dict[str, Any]:
    """What the whole command takes on a source."""
    done = subprocess.run(
        [sys.executable, "-c", _WHOLE, str(source), out], check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, Any] = {"megabytes": source.stat().st_size / 1e6, **json.loads(done.stdout)}
    steps = ", ".join(f"{name} {seconds:.0f}" for name, seconds in found["step_seconds"].items())
    print(
        f"{found['megabytes']:,.0f} MB, {found['documents']:,} documents kept: largest process "
        f"{found['peak_megabytes']:,.0f} MB, {found['cpu_seconds']:,.0f} CPU seconds; seconds of the steps: {steps}",
        flush=True,
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, nargs="+", default=[100_000, 300_000])
    parser.add_argument("--words", type=int, default=30, help="of a document")
    parser.add_argument("--books", type=Path, help="a folder of books as text files")
    parser.add_argument("--megabytes", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--source", type=Path, nargs="+")
    given = parser.parse_args()
    if given.books or given.source:
        found = []
        with tempfile.TemporaryDirectory() as folder:
            for number, source in enumerate(given.source or given.megabytes):
                file = source
                if not given.source:
                    file = Path(folder) / "rows.jsonl"
                    write_shared(file, given.books, source * 1_000_000)
                found.append(whole(file, f"{folder}/runs{number}"))
        finish("corpus_memory", {"sizes": found})
        return
    sizes: list[dict[str, Any]] = []
    for count in given.documents:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "rows.jsonl"
            write_documents(source, count, given.words)
            command = [sys.executable, "-c", _RUN, str(source), f"{folder}/out"]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            peak = int(done.stdout.split()[-1]) * 1024
            sizes.append({"documents": count, "megabytes": source.stat().st_size / 1e6, "peak_megabytes": peak / 1e6})
            print(f"{count:>10,} documents, {sizes[-1]['megabytes']:.1f} MB: {peak / 1e6:,.0f} MB", flush=True)
    if len(sizes) > 1:
        grown = sizes[-1]["peak_megabytes"] - sizes[0]["peak_megabytes"]
        each = 1e6 * grown / (sizes[-1]["documents"] - sizes[0]["documents"])
        print(f"{each:,.0f} bytes for each document more")
    finish("corpus_memory", {"sizes": sizes})


if __name__ == "__main__":
    main()
