"""MB per CPU second of rules and near duplicates: Tutelage and datatrove, FineWeb's own library.

    python benchmarks/corpus_cpu.py SOURCE --peer PYTHON [--megabytes 10] [--rounds 3]

SOURCE is a folder or file of text, as for `tutelage corpus`. PYTHON is a Python that has datatrove (it is not among our
dependencies: `python -m venv peer && peer/bin/pip install datatrove spacy orjson tokenizers "xxhash<4"`). Both work in
one process on the same documents, in turn. First it is checked what they decide: the rules of FineWeb (Gopher
repetition and quality, C4, FineWeb) of each document, and the near duplicates that are planted among them: exact
copies, copies of which 2 % of the words are changed, and other documents. Each side has its own defaults:
ours 25 bands of 5 and every candidate verified (Jaccard 0.7), datatrove 14 bands of 8 and chains.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
from common import alternate, finish, summary

from tutelage.corpus.clean import clean_text
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.document import Document
from tutelage.corpus.minhash import banding
from tutelage.corpus.near import near_duplicates_of, preferred
from tutelage.corpus.published.batch import Cutter
from tutelage.corpus.published.chain import FINEWEB, judge
from tutelage.corpus.readers import read_file
from tutelage.corpus.shelf import Shelf
from tutelage.corpus.sources import input_files
from tutelage.corpus.workshop import Workshop
from tutelage.store.events import EventLog

THRESHOLD, PLANTED, CHANGED = 0.7, 300, 0.02
ROWS = 1000  # documents of a batch
PEER = Path(__file__).with_name("corpus_peer.py")


def documents_of(source: str, most: int) -> list[str]:
    """Texts of a source, whole, of so many bytes in all, from all of its files alike."""
    config = CorpusConfig(source=source, max_characters=0)
    readings = [read_file(file, config).documents for file in input_files(source)]
    texts = [clean_text(one.text) for documents in readings for one in documents if one.text]
    random.Random(1).shuffle(texts)
    chosen, size = [], 0
    for text in texts:
        if size >= most:
            break
        chosen.append(text)
        size += len(text.encode())
    return chosen


def changed(text: str, chance: random.Random) -> str:
    """A copy of which 2 % of the words are others."""
    words = text.split(" ")
    for place in chance.sample(range(len(words)), max(1, round(CHANGED * len(words)))):
        words[place] = chance.choice(words)
    return " ".join(words)


def planted(texts: list[str]) -> tuple[list[str], list[int]]:
    """(texts, followed by exact copies and then changed ones of some of them; which of them)."""
    chance = random.Random(2)
    long = [place for place, text in enumerate(texts) if 100 <= len(text.split()) <= 5000]
    chosen = chance.sample(long, min(PLANTED, len(long) // 2))
    copies = [texts[place] for place in chosen] + [changed(texts[place], chance) for place in chosen]
    return texts + copies, chosen


def our_rules(texts: list[str]) -> tuple[float, list[Any]]:
    cutter, decided = Cutter(), []
    arrays = [pa.array(texts[begin : begin + ROWS], pa.string()) for begin in range(0, len(texts), ROWS)]
    begin = time.process_time()
    judged = [judge(array, FINEWEB, cutter) for array in arrays]
    seconds = time.process_time() - begin
    for one in judged:
        for rule, text in zip(one.broken.tolist(), one.texts.to_pylist(), strict=True):
            decided.append({"removed": one.rules[rule]} if rule >= 0 else {"text": text})
    return seconds, decided


def our_minhash(texts: list[str]) -> tuple[float, list[int]]:
    """(CPU seconds, for each text the one that is kept for it)."""
    shelf = Shelf.of(Document(f"{number:08}", text, "s") for number, text in enumerate(texts))
    with tempfile.TemporaryDirectory() as folder:
        begin = time.process_time()
        found = near_duplicates_of(shelf, THRESHOLD, banding(THRESHOLD), Workshop(Path(folder), 0, EventLog()))
        seconds = time.process_time() - begin
    order = preferred(shelf.kept)
    kept_for = {int(order[place]): int(order[kept]) for place, kept in enumerate(found.kept_for.tolist())}
    return seconds, [kept_for[number] for number in range(len(texts))]


class Peer:
    """datatrove in its own Python, asked by lines."""

    def __init__(self, python: str) -> None:
        self._process = subprocess.Popen(
            [python, str(PEER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def ask(self, what: str, documents: Path) -> tuple[float, Any]:
        assert self._process.stdin and self._process.stdout
        out = documents.with_suffix(f".{what}.json")
        print(what, documents, out, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            sys.exit(f"the peer ended with {self._process.wait()}: does its Python have what --help names?")
        return json.loads(answer)["cpu_seconds"], json.loads(out.read_text(encoding="utf-8"))


def agreement(ours: list[Any], theirs: list[Any]) -> dict[str, Any]:
    """How many documents both decide alike, and the others by what each side says."""
    kept = [(one.get("removed") is None, other.get("removed") is None) for one, other in zip(ours, theirs, strict=True)]
    left = [(one["text"], other.get("text")) for one, other in zip(ours, theirs, strict=True) if "text" in one]
    differ = Counter(
        f"ours: {one.get('removed')}, theirs: {other.get('removed')}"
        for one, other, (mine, peers) in zip(ours, theirs, kept, strict=True)
        if mine != peers
    )
    return {
        "documents": len(kept), "kept": sum(mine for mine, _ in kept),
        "share": sum(mine == peers for mine, peers in kept) / len(kept), "differences": dict(differ.most_common()),
        "kept_with_the_same_text": sum(mine == peers for mine, peers in left),
    }  # fmt: skip


def recall(kept: list[bool], chosen: list[int]) -> dict[str, float]:
    """Of the planted copies those of which one side is gone, and of the other documents those that are gone."""
    size, half = len(kept) - 2 * len(chosen), len(chosen)
    pairs = list(zip(chosen, range(size, size + half), strict=True))
    near = list(zip(chosen, range(size + half, size + 2 * half), strict=True))
    others = set(range(size)) - set(chosen)
    return {
        "exact": sum(not (kept[a] and kept[b]) for a, b in pairs) / half,
        "changed": sum(not (kept[a] and kept[b]) for a, b in near) / half,
        "other_documents_removed": sum(not kept[one] for one in others) / max(1, len(others)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--peer", help="a Python that has datatrove; without it only our side is measured")
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    texts = documents_of(given.source, round(given.megabytes * 1e6))
    with_copies, chosen = planted(texts)
    given_texts = {"rules": texts, "minhash": with_copies}
    size = {name: sum(len(one.encode()) for one in rows) / 1e6 for name, rows in given_texts.items()}
    print(f"{len(texts):,} documents, {size['rules']:.1f} MB; {len(chosen):,} of them planted twice", flush=True)
    peer = Peer(given.peer) if given.peer else None
    result: dict[str, Any] = {"megabytes": size, "documents": len(texts), "planted": len(chosen)}
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for name, rows in given_texts.items():
            files[name] = Path(folder) / f"{name}.jsonl"
            files[name].write_text("".join(json.dumps({"text": one}) + "\n" for one in rows), encoding="utf-8")
        decided = our_rules(texts)[1]
        kept_for = our_minhash(with_copies)[1]
        result["recall"] = {"tutelage": recall([kept == at for at, kept in enumerate(kept_for)], chosen)}
        if peer:
            result["agreement"] = agreement(decided, peer.ask("rules", files["rules"])[1])
            result["recall"]["datatrove"] = recall(peer.ask("minhash", files["minhash"])[1], chosen)
        print(json.dumps({key: result[key] for key in ("agreement", "recall") if key in result}, indent=1), flush=True)
        for name in ("rules", "minhash"):
            ours = our_rules if name == "rules" else our_minhash
            rows = given_texts[name]
            runs = {f"tutelage {name}": lambda ours=ours, rows=rows, name=name: size[name] / ours(rows)[0]}
            if peer:
                runs[f"datatrove {name}"] = lambda name=name: size[name] / peer.ask(name, files[name])[0]
            rates = alternate(runs, given.rounds, unmeasured=False)
            result[name] = {side.split()[0]: summary(values) for side, values in rates.items()}
            if peer:
                result[name]["ratio"] = result[name]["tutelage"]["median"] / result[name]["datatrove"]["median"]
    finish("corpus_cpu", {**result, "unit": "MB for each CPU second of one process"})


if __name__ == "__main__":
    main()
