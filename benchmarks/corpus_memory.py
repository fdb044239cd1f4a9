"""Memory of the corpus stage, in one process, by the number of documents.

    python benchmarks/corpus_memory.py [--documents 100000 300000] [--words 30]

Documents are made-up sentences, no two alike. Each number is a process of its own; the largest resident size of it.
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

_RUN = """
import resource, sys
from pathlib import Path
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.stage import build_corpus
from tutelage.store.events import EventLog

build_corpus(CorpusConfig(source=sys.argv[1]), Path(sys.argv[2]), EventLog(), seed=1, workers=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, nargs="+", default=[100_000, 300_000])
    parser.add_argument("--words", type=int, default=30, help="of a document")
    given = parser.parse_args()
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
