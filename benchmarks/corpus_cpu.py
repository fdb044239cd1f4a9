"""MB per CPU second of rules and near duplicates: Tutelage and datatrove, FineWeb's own library.

    python benchmarks/corpus_cpu.py SOURCE --peer PYTHON [--mixed] [--megabytes 10] [--rounds 3]

SOURCE is a folder or file of text, as for `tutelage corpus`; with --mixed a folder of data sets that
`mixed_documents.py` knows. PYTHON is a Python that has datatrove (it is not among our dependencies: `python -m venv
peer && peer/bin/pip install datatrove==0.10.1 spacy nltk regex orjson tokenizers "xxhash<4"`). Both work in one process
on the same documents, in turn. What they decide is compared too: the rules of FineWeb (Gopher repetition and quality,
C4, FineWeb) of each document, and the near duplicates that are planted among them: exact copies, copies of which 2 % of
the words are changed, and other documents. Each side has its own defaults: ours 25 bands of 5 and every candidate
verified (Jaccard 0.7), datatrove 14 bands of 8 and chains.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections import Counter
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from common import alternate, finish, summary
from mixed_documents import mixed

from tutelage.corpus.clean import clean_text
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.dedup import PASSES, chosen_for, sets_of, splitter
from tutelage.corpus.document import Document
from tutelage.corpus.minhash import banding
from tutelage.corpus.near import near_duplicates_of, preferred
from tutelage.corpus.published.batch import Cutter
from tutelage.corpus.published.chain import FINEWEB, judge
from tutelage.corpus.readers import read_file
from tutelage.corpus.shelf import Shelf
from tutelage.corpus.sources import input_files
from tutelage.corpus.words import text_batches
from tutelage.corpus.workshop import Workshop
from tutelage.store.events import EventLog

THRESHOLD, PLANTED, CHANGED = 0.7, 300, 0.02
_SHOWN = 5  # documents of each difference
ROWS = 1000  # documents of a batch
PEER = Path(__file__).with_name("corpus_peer.py")


def documents_of(source: str, most: int) -> list[tuple[str, str]]:
    """(label, text) of a source, whole, of so many bytes in all, from all of its files alike."""
    config = CorpusConfig(source=source, max_characters=0)
    readings = [read_file(file, config).documents for file in input_files(source)]
    texts = [(one.label or "", clean_text(one.text)) for documents in readings for one in documents if one.text]
    random.Random(1).shuffle(texts)
    return texts[: count_of([text for _, text in texts], most)]


def count_of(texts: list[str], most: int) -> int:
    """How many texts, from the first, make so many bytes."""
    sizes = list(accumulate(len(one.encode()) for one in texts))
    return min(len(texts), bisect_left(sizes, most) + 1)


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


def agreement(given: list[tuple[str, str]], ours: list[Any], theirs: list[Any]) -> dict[str, Any]:
    """Of how many documents both decide alike, by kind, and the others: what each side says, and how they begin."""
    alike, same, kept, kinds = 0, 0, 0, Counter[str]()
    differ: dict[str, list[str]] = {}
    for (kind, text), one, other in zip(given, ours, theirs, strict=True):
        kinds[kind] += 1
        kept += "text" in one
        if ("text" in one) == ("text" in other):
            alike += 1
            same += "text" in one and one["text"] == other["text"]
        else:
            said = f"ours: {one.get('removed', 'kept')}, theirs: {other.get('removed', 'kept')}"
            differ.setdefault(said, []).append(f"{kind}, {len(text):,} characters: {' '.join(text[:200].split())!r}")
    return {
        "documents": len(theirs), "of_kinds": dict(kinds), "share": alike / len(theirs), "kept": kept,
        "kept_with_the_same_text": same,
        "differences": {said: {"documents": len(some), "first": some[:_SHOWN]} for said, some in differ.items()},
    }  # fmt: skip


def recall(texts: list[str], kept: list[bool], chosen: list[int]) -> dict[str, float]:
    """Of the planted copies those of which one side is gone; of the other documents those that are gone, and those
    that are gone and like no other."""
    size, half = len(kept) - 2 * len(chosen), len(chosen)
    pairs = list(zip(chosen, range(size, size + half), strict=True))
    near = list(zip(chosen, range(size + half, size + 2 * half), strict=True))
    others = set(range(size)) - set(chosen)
    gone = [one for one in sorted(others) if not kept[one]]
    return {
        "exact": sum(not (kept[a] and kept[b]) for a, b in pairs) / half,
        "changed": sum(not (kept[a] and kept[b]) for a, b in near) / half,
        "other_documents_removed": len(gone) / max(1, len(others)),
        "wrongly_removed": like_no_other(texts, gone) / max(1, len(others)),
    }


def like_no_other(texts: list[str], gone: list[int]) -> int:
    """How many of some texts have no other of a true Jaccard similarity of the threshold, by 5-grams of words, or by
    2-grams where both are short."""
    left, split = set(gone), splitter()
    for which in range(len(PASSES)):
        sets: dict[int, Any] = {}
        begin = 0
        for batch in text_batches(texts):
            words = split.words(batch)
            places = chosen_for(words, which)
            sets.update(zip((places + begin).tolist(), sets_of(words, which, places), strict=True))
            begin += len(batch)
        sizes = np.zeros(len(texts), np.int64)
        sizes[list(sets)] = [len(one) for one in sets.values()]
        grams = np.concatenate(list(sets.values()))
        order = np.argsort(grams, kind="stable")
        grams, owners = grams[order], np.repeat(list(sets), sizes[list(sets)])[order]
        for text in sorted(left & set(sets)):
            ranges = zip(np.searchsorted(grams, sets[text]), np.searchsorted(grams, sets[text], "right"), strict=True)
            common = np.bincount(np.concatenate([owners[low:high] for low, high in ranges]), minlength=len(texts))
            common[text] = 0
            if (common / np.maximum(sizes + sizes[text] - common, 1)).max() >= THRESHOLD:
                left.remove(text)
    return len(left)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("--mixed", action="store_true", help="the source is a folder of data sets")
    parser.add_argument("--peer", help="a Python that has datatrove; without it only our side is measured")
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    most = round(asked.megabytes * 1e6)
    given = mixed(Path(asked.source), most) if asked.mixed else documents_of(asked.source, most)
    texts = [text for _, text in given]
    with_copies, chosen = planted(texts)
    rows = {"rules": texts, "minhash": with_copies}
    print(f"{len(texts):,} documents, {megabytes(texts):.1f} MB; {len(chosen):,} of them planted twice", flush=True)
    peer = Peer(asked.peer) if asked.peer else None
    decided: dict[str, Any] = {}  # by the last round of each
    result: dict[str, Any] = {"megabytes": megabytes(texts), "documents": len(texts), "planted": len(chosen)}
    with tempfile.TemporaryDirectory() as folder:

        def ours(name: str) -> float:
            seconds, decided[f"tutelage {name}"] = {"rules": our_rules, "minhash": our_minhash}[name](rows[name])
            return megabytes(rows[name]) / seconds

        def theirs(name: str) -> float:
            file = Path(folder) / f"{name}.jsonl"
            file.write_text("".join(json.dumps({"text": one}) + "\n" for one in rows[name]), encoding="utf-8")
            assert peer
            seconds, decided[f"datatrove {name}"] = peer.ask(name, file)
            return megabytes(rows[name]) / seconds

        for name in rows:
            runs = {f"tutelage {name}": partial(ours, name)} | (
                {f"datatrove {name}": partial(theirs, name)} if peer else {}
            )
            rates = alternate(runs, asked.rounds, unmeasured=False)
            result[name] = {side.split()[0]: summary(values) for side, values in rates.items()}
    kept_for = decided["tutelage minhash"]
    result["recall"] = {"tutelage": recall(with_copies, [kept == at for at, kept in enumerate(kept_for)], chosen)}
    if peer:
        result["recall"]["datatrove"] = recall(with_copies, decided["datatrove minhash"], chosen)
        result["agreement"] = agreement(given, decided["tutelage rules"], decided["datatrove rules"])
        for name in rows:
            result[name]["ratio"] = result[name]["tutelage"]["median"] / result[name]["datatrove"]["median"]
    tell(result)
    finish("corpus_cpu", {**result, "unit": "MB for each CPU second of one process"})


def megabytes(texts: list[str]) -> float:
    return sum(len(one.encode()) for one in texts) / 1e6


def tell(result: dict[str, Any]) -> None:
    """The result in lines to be read."""
    for name, what in (("rules", "rules of FineWeb"), ("minhash", "near duplicates")):
        speeds = ", ".join(f"{side} {one['median']:.2f}" for side, one in result[name].items() if side != "ratio")
        times = f" ({result[name]['ratio']:.1f} times)" if "ratio" in result[name] else ""
        print(f"{what}: {speeds} MB for each CPU second{times}")
    for side, one in result["recall"].items():
        print(
            f"{side}: of {result['planted']:,} exact copies {one['exact']:.1%} found, of as many with "
            f"{CHANGED:.0%} of the words changed {one['changed']:.1%}; of the other documents "
            f"{one['other_documents_removed']:.2%} removed, {one['wrongly_removed']:.2%} wrongly (like no other: "
            f"Jaccard below {THRESHOLD:g})"
        )
    if found := result.get("agreement"):
        alike = round(found["share"] * found["documents"])
        print(
            f"rules decide alike on {alike:,} of {found['documents']:,} documents ({found['share']:.3%}); of "
            f"{found['kept']:,} that stay {found['kept_with_the_same_text']:,} have the same text"
        )
        for said, some in found["differences"].items():
            print(f"  {some['documents']:,} documents: {said}", *some["first"], sep="\n      ")


if __name__ == "__main__":
    main()
