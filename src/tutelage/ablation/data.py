"""What does each source, filter and step of the data do? The recipe is compared with the recipe without each of them.

Sources are left out of training only, so that every arm is measured on the same held-out text. A filter that is left
out changes what the documents say; they are matched by their original text, and measured as the first arm has them:
the question is what helps on the text that the recipe is for.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from tutelage.ablation.arms import OWN, Arm
from tutelage.corpus.config import CorpusConfig
from tutelage.recipe.config import QUICKSTART, Recipe, override, read_yaml
from tutelage.store.errors import ConfigError, InputError

MOST_SOURCES = 12
_UNEVEN = 0.1  # share of a source in held-out text beside that in training text
SMALLEST_SOURCE = 0.01  # of the training text: smaller sources are not ablated


def filter_arms(recipe: Path | None, sets: Sequence[str]) -> list[Arm]:
    """The recipe as it is, and without each selection step that it has."""
    data = read_yaml(recipe) if recipe else copy.deepcopy(QUICKSTART)
    for item in sets:
        override(data, item)
    data["finetune"] = {}
    first = Arm(OWN, (), Recipe.parse(data))
    return [first, *(_arm(data, f"without {name}", changes) for name, changes in filters(first.recipe.corpus).items())]


def filters(corpus: CorpusConfig) -> dict[str, tuple[str, ...]]:
    """Selection steps of a corpus -> the setting that leaves each out."""
    found: dict[str, tuple[str, ...]] = {}
    if corpus.languages:
        found["languages"] = ("corpus.languages=[]",)
    if corpus.rules:
        found["published rules"] = ("corpus.rules=[]",)
    if corpus.prose:
        found["prose"] = ("corpus.prose=false",)
    if corpus.blocklist:
        found["blocklist"] = ("corpus.blocklist=''",)
    if corpus.pii != "keep":
        found["personal data"] = ("corpus.pii=keep",)
    if corpus.drop_banners:
        found["shared paragraphs"] = ("corpus.drop_banners=false",)
    if corpus.duplicate_pieces != "keep":
        found[f"duplicate {corpus.duplicate_pieces}"] = ("corpus.duplicate_pieces=keep",)
    if corpus.near_duplicate_threshold < 1:
        found["near duplicates"] = ("corpus.near_duplicate_threshold=1.0",)
    if corpus.select is not None:
        found["selection"] = ("corpus.select=null",)
        weights = corpus.select.weights
        for name in weights if len(weights) > 1 else ():
            found[f"{name} in selection"] = (f"corpus.select.{name}=0",)
    return found


def source_arms(first: Arm, corpus: Path, by: str) -> list[Arm]:
    """The first arm without each source of its corpus, the largest first; those below 1 % of the text are not tried.

    Raises InputError if the corpus has one source only, ConfigError if several corpora are mixed.
    """
    tried = list(measured_sources(first, corpus, by))
    if len(tried) < 2:
        raise InputError(
            f"the corpus has one {by} only, so no source can be left out",
            hint="put the files of each source into a folder of its own, or use --by source",
        )
    data = first.recipe.plain()
    return [_without_source(data, by, name) for name in tried]


def measured_sources(first: Arm, corpus: Path, by: str) -> dict[str, int]:
    """Bytes of the sources that are measured, the largest first: twelve at most, of 1 % of the text and more. Raises
    ConfigError if several corpora are mixed."""
    assert first.recipe.pretrain is not None
    if first.recipe.pretrain.mixture:
        raise ConfigError(
            "sources can be left out of one corpus only; this recipe mixes several", hint="leave out pretrain.mixture"
        )
    sizes = source_sizes(corpus, by)
    total = sum(sizes.values())
    names = sorted(sizes, key=lambda name: (-sizes[name], name))
    return {name: sizes[name] for name in names[:MOST_SOURCES] if sizes[name] >= SMALLEST_SOURCE * total}


def held_out_otherwise(corpus: Path, by: str) -> str:
    """Which source has another share of the held-out text than of the training text, in a sentence; empty where none
    differs by 10 points. Whole texts are held out, so that a source of a single file lies on one side."""
    sides = [source_sizes(corpus, by, side) for side in ("train", "heldout")]
    shares = [{name: size / max(1, sum(of.values())) for name, size in of.items()} for of in sides]
    found = [
        f"{name or 'without a name'} {shares[1].get(name, 0.0):.0%} instead of {shares[0].get(name, 0.0):.0%}"
        for name in sorted({*shares[0], *shares[1]})
        if abs(shares[0].get(name, 0.0) - shares[1].get(name, 0.0)) > _UNEVEN
    ]
    if not found:
        return ""
    return (
        f"the held-out text is not mixed as the corpus is: {', '.join(found)}. What is best is best for that text; "
        "cut sources of a few long files into one file for each text"
    )


def source_sizes(corpus: Path, by: str, side: str = "train") -> dict[str, int]:
    """Bytes of the text of each source on a side of a corpus; with one batch of documents in memory at a time."""
    sizes: dict[str, int] = {}
    for batch in pq.ParquetFile(corpus / f"{side}.parquet").iter_batches(2000, columns=[by, "text"]):
        lengths = pc.binary_length(batch.column("text")).to_pylist()
        for name, length in zip(batch.column(by).to_pylist(), lengths, strict=True):
            sizes[name or ""] = sizes.get(name or "", 0) + length
    return sizes


def _without_source(data: dict[str, Any], by: str, name: str) -> Arm:
    mine = copy.deepcopy(data)
    mix = mine["pretrain"].get("mix") or {}
    mine["pretrain"]["mix"] = {**mix, "by": by, "weights": {**mix.get("weights", {}), name: 0.0}}
    sets = (f"pretrain.mix.by={by}", f"pretrain.mix.weights.{name}=0")
    return Arm(f"without {name or 'a name'}", sets, Recipe.parse(mine))


def _arm(data: dict[str, Any], name: str, changes: tuple[str, ...]) -> Arm:
    mine = copy.deepcopy(data)
    for item in changes:
        override(mine, item)
    return Arm(name, changes, Recipe.parse(mine))
