"""MB per CPU second of encoding a corpus: Tutelage, and tokenizers alone, on one core.

    python benchmarks/tokenize_cpu.py SOURCE [--tokenizer METHOD:SIZE[:SPLIT]] [--megabytes 20] [--rounds 3]
                                             [--mixed] [--peers tiktoken kitoken]

SOURCE is a folder or file of text, as for `tutelage corpus`; with --mixed a folder of data sets that
`mixed_documents.py` knows. A tokenizer is trained on some of it; then all is encoded,
each side in turn, every time by a tokenizer that is newly built, as at the start of a run: what building it and trying
the fast encoder take is counted, and no cache is warm. Before that the ids of all texts are compared. The second figure
is the whole way of pretraining, from the Parquet file to token shards on disk and their hashes; both must have written
the same bytes. `--peers` names libraries that encode beside (not among our dependencies).
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ["RAYON_NUM_THREADS"] = "1"  # before either library starts its threads

import pyarrow as pa
import pyarrow.parquet as pq
import tokenizers
from common import alternate, finish, summary
from corpus_cpu import documents_of
from mixed_documents import mixed

from tutelage.ablation.tokenizers import settings_of
from tutelage.pretraining.encoding import encoded_texts
from tutelage.pretraining.shards import open_shards, write_shards
from tutelage.store.events import EventLog
from tutelage.tokenizer.bulk import Encoded
from tutelage.tokenizer.config import TokenizerConfig
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.tokenizer.train import train
from tutelage.tokenizer.vocabulary import byte_characters

CHARACTERS = 2000  # of a document, as the corpus cuts them
BATCH = 1000
Encode = Callable[[Sequence[str]], Any]


def ours(tok: Tokenizer) -> Encode:
    fresh = Tokenizer(tok.definition, tok.settings, tok.chat_template)
    return fresh.encode_flat


def library(tok: Tokenizer) -> Encode:
    made = tokenizers.Tokenizer.from_str(tok.definition)
    made.encode_special_tokens = True
    return lambda texts: [one.ids for one in made.encode_batch_fast(list(texts), add_special_tokens=False)]


def tiktoken(tok: Tokenizer) -> Encode:
    import tiktoken

    data = json.loads(tok.definition)
    byte_of = {char: byte for byte, char in byte_characters().items()}
    control = {token["content"] for token in data["added_tokens"]}
    ranks = {
        bytes(byte_of[char] for char in token): index
        for token, index in data["model"]["vocab"].items()
        if token not in control
    }
    (pattern,) = (step["pattern"]["Regex"] for step in data["pre_tokenizer"]["pretokenizers"] if "pattern" in step)
    made = tiktoken.Encoding("ours", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return lambda texts: [made.encode_ordinary(text) for text in texts]


def kitoken(tok: Tokenizer) -> Encode:
    import kitoken

    with tempfile.TemporaryDirectory() as folder:
        tok.save(folder)
        made = kitoken.Kitoken.from_tokenizers_file(f"{folder}/tokenizer.json")
    return lambda texts: [made.encode(text, False) for text in texts]


PEERS = {"tiktoken": tiktoken, "kitoken": kitoken}


def encoding(make: Callable[[Tokenizer], Encode], tok: Tokenizer, texts: list[str], size: int) -> float:
    """MB per CPU second, building included."""
    begin = time.process_time()
    encode = make(tok)
    for start in range(0, len(texts), BATCH):
        encode(texts[start : start + BATCH])
    return size / 1e6 / (time.process_time() - begin)


class Plain(Tokenizer):
    """A tokenizer as it was before: `tokenizers` encodes."""

    def encode_flat(self, texts: Sequence[str]) -> Encoded:
        return self._bulk._by_library(texts)


def whole_way(kind: type[Tokenizer], tok: Tokenizer, source: Path, folder: Path, size: int) -> float:
    """MB per CPU second from the Parquet file to shards that are there."""
    begin = time.process_time()
    made = kind(tok.definition, tok.settings, tok.chat_template)
    write_shards(encoded_texts(source, made, EventLog(), "encoding"), folder, tok.vocab_size, "", 1 << 26)
    return size / 1e6 / (time.process_time() - begin)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("source")
    asked.add_argument("--tokenizer", default="bpe:8192")
    asked.add_argument("--mixed", action="store_true", help="the source is a folder of data sets")
    asked.add_argument("--megabytes", type=float, default=20.0)
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--peers", nargs="*", default=[], choices=sorted(PEERS))
    args = asked.parse_args()

    most = int(args.megabytes * 1e6)
    documents = [
        text for _, text in (mixed(Path(args.source), most) if args.mixed else documents_of(args.source, most))
    ]
    texts = [one[at : at + CHARACTERS] for one in documents for at in range(0, len(one), CHARACTERS)]
    size = sum(len(text.encode()) for text in texts)
    config = TokenizerConfig(**settings_of(args.tokenizer)).sized(size)
    tok = train(config, texts[:: max(1, len(texts) // 2000)], EventLog())

    sides: dict[str, Callable[[Tokenizer], Encode]] = {"ours": ours, "tokenizers": library}
    sides |= {name: PEERS[name] for name in args.peers}
    wanted = library(tok)(texts)
    same = {name: sum(list(map(int, a)) == b for a, b in zip(make(tok)(texts), wanted, strict=True)) / len(texts)
            for name, make in sides.items()}  # fmt: skip
    print(f"{args.tokenizer}: {tok.vocab_size} tokens; {len(texts):,} texts, {size / 1e6:.1f} MB; same ids: {same}")
    assert same["ours"] == 1.0, "ours gives other ids than tokenizers"
    assert tok.encode_batch(texts) == wanted
    rates = alternate(
        {name: lambda make=make: encoding(make, tok, texts, size) for name, make in sides.items()}, args.rounds, False
    )
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "texts.parquet"
        pq.write_table(pa.table({"text": texts}), source, row_group_size=5000)
        kinds: dict[str, type[Tokenizer]] = {"ours": Tokenizer, "tokenizers": Plain}
        ways = alternate(
            {f"whole way, {name}": lambda kind=kind, name=name: whole_way(kind, tok, source, Path(place) / name, size)
             for name, kind in kinds.items()}, args.rounds, False,
        )  # fmt: skip
        files = [open_shards(Path(place) / name).index["files"] for name in kinds]
        assert files[0] == files[1], "the shards differ"

    def ratio(figures: dict[str, list[float]], one: str, other: str) -> float:
        return round(summary(figures[one])["median"] / summary(figures[other])["median"], 2)

    finish("tokenize_cpu", {
        "unit": "MB per CPU second of one core", "tokenizer": args.tokenizer, "vocab_size": tok.vocab_size,
        "megabytes": round(size / 1e6, 1), "texts": len(texts), "same_ids": same, "same_shards": True,
        "encoder": tok.encoder, "encoding": {name: summary(values) for name, values in rates.items()},
        "whole_way": {name: summary(values) for name, values in ways.items()},
        "ratio": ratio(rates, "ours", "tokenizers"),
        "whole_way_ratio": ratio(ways, "whole way, ours", "whole way, tokenizers"),
        "versions": {name: metadata.version(name) for name in ("tokenizers", "fastokens", *args.peers)},
    })  # fmt: skip


if __name__ == "__main__":
    main()
