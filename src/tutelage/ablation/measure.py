"""What the arms are measured on: items that every arm held out, and a model's loss on each of them.

Text and answers by their bits, over bytes. Labelled texts by the bits of the right label: the log loss also counts
confidence, so that small differences show. Preference pairs by whether the rejected answer is more likely per token
than the chosen one: no reward scale is involved, which a varied `beta` would change.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.corpus.document import read_documents
from tutelage.evaluation.clusters import usable
from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.language import rolling
from tutelage.evaluation.likelihood import HeldoutRows, score_rows
from tutelage.evaluation.paired import Clusters
from tutelage.store.artifacts import Artifact, ArtifactStore, identity_of
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.files import write_json
from tutelage.store.hashing import sha256_json
from tutelage.store.jsonl import read_rows
from tutelage.store.progress import batches

if TYPE_CHECKING:
    from tutelage.inference.language_model import LanguageModel

KIND, VERSION = "bits", 1
_TEXTS = ("new text",)
KINDS = {
    "texts": "text",
    "answers": "answers",
    "labels": "labels",
    "pairs": "pairs",
}  # of items, by what a step holds out
MEASURES = {"text": "bits per byte", "answers": "bits per byte", "labels": "bits per text", "pairs": "errors per pair"}
LEAST_CHANCE = 1e-9  # of the right label; a classifier that is certain and wrong loses 30 bits, not infinitely many


@dataclass(frozen=True)
class Items:
    """Held-out items in a fixed order. `kind`: `text`, or `answers`, `labels` or `pairs` of a finetuning step. `sizes`:
    bytes if the loss is per byte, else 1.

    left_out: how many of the first arm's items another arm did not hold out; cut: how many were beyond the limit.
    """

    kind: str
    rows: tuple[dict[str, Any], ...]
    sources: tuple[str, ...]
    sizes: tuple[int, ...]
    left_out: int = 0
    cut: int = 0

    @property
    def clusters(self) -> Clusters:
        """The packages, where there are ten of them or more."""
        return usable(self.sources)

    @property
    def units(self) -> str:
        return (
            "packages"
            if self.clusters is not None
            else {"text": "documents", "labels": "texts"}.get(self.kind, self.kind)
        )

    @property
    def measure(self) -> str:
        return MEASURES[self.kind]

    @property
    def identity(self) -> str:
        return sha256_json([self.kind, list(self.rows)])


def corpus_items(corpora: Sequence[Path], most: int) -> Items:
    """Documents that every one of these corpora held out, at most `most`, as the first has them.

    Documents are matched by their original text (their id): a filter that another arm leaves out may have changed
    their text. Raises InputError if there are none.
    """
    sides = [read_documents(path / "heldout.parquet") for path in dict.fromkeys(corpora)]
    common = set.intersection(*({document.id for document in side} for side in sides))
    # By id, which is a hash: the first `most` are a random sample.
    mine = sorted({one.text: one for one in sides[0]}.values(), key=lambda one: one.id)
    shared = [document for document in mine if document.id in common]
    kept = shared[:most]
    if not kept:
        raise InputError(
            "the arms have no held-out document in common, so they cannot be compared",
            hint="vary the selection of text, not how it is split",
        )
    rows = tuple({"text": one.text} for one in kept)
    sizes = tuple(len(one.text.encode("utf-8")) for one in kept)
    return Items(
        "text", rows, tuple(one.source for one in kept), sizes, len(mine) - len(shared), len(shared) - len(kept)
    )


def step_items(models: Sequence[Path], heldout: str, most: int) -> Items:
    """Rows that every arm's model of a finetuning step held out: `heldout` is their kind."""
    sides = [_rows(path, heldout) for path in dict.fromkeys(models)]
    common = set.intersection(*(set(side) for side in sides))
    shared = [row for key, row in sorted(sides[0].items()) if key in common]
    kept = shared[:most]
    if not kept:
        raise InputError("the arms have no held-out row in common, so they cannot be compared")
    kind = KINDS[heldout]
    sources = tuple(str(row.get("source") or "") for row in kept)
    left_out, cut = len(sides[0]) - len(shared), len(shared) - len(kept)
    sizes = tuple(1 if kind in ("labels", "pairs") else _size(row) for row in kept)
    return Items(kind, tuple(kept), sources, sizes, left_out, cut)


def measured(items: Items, model: Artifact, store: ArtifactStore, config: EvaluateConfig, log: EventLog) -> list[float]:
    """The model's loss on each item, from the cache or measured now."""
    settings, inputs = {"items": items.identity}, {"model": model.identity}
    found = store.find(KIND, identity_of(KIND, VERSION, settings, inputs))

    def fill(out: Path, work: Path) -> dict[str, Any]:
        from tutelage.inference.language_model import load

        bits = _bits(load(model.path), items, config, log)
        write_json(out / "bits.json", bits)
        return {items.measure.replace(" ", "_"): sum(bits) / sum(items.sizes)}

    if found is None:
        found = store.write(KIND, VERSION, settings, inputs, fill)
    return [float(value) for value in json.loads((found.path / "bits.json").read_text(encoding="utf-8"))]


def _bits(lm: LanguageModel, items: Items, config: EvaluateConfig, log: EventLog) -> list[float]:
    if items.kind == "labels":
        return _label_bits(lm, items, config, log)
    if items.kind == "pairs":
        held = HeldoutRows("step", "pairs", ("step",), list(items.rows))
        margin = score_rows(lm, "step", held, config, log).margin
        return [1.0 if value < 0 else 0.5 if value == 0 else 0.0 for value in margin]
    if items.kind == "text":
        nats = rolling(lm, "held-out text", [row["text"] for row in items.rows], config.batch, log)
    else:
        held = HeldoutRows("step", "answers", ("step",), list(items.rows))
        nats = list(score_rows(lm, "step", held, config, log).logprobs)
    return [-float(value) / math.log(2) for value in nats]


def _label_bits(lm: LanguageModel, items: Items, config: EvaluateConfig, log: EventLog) -> list[float]:
    """Bits of the right label of each text."""
    found: list[float] = []
    for part in batches(log, "held-out labels", list(items.rows), config.batch, "texts"):
        chances = lm.classify([str(row["text"]) for row in part])
        found += [
            -math.log2(max(LEAST_CHANCE, told.get(str(row["label"]), 0.0)))
            for row, told in zip(part, chances, strict=True)
        ]
    return found


def _rows(model: Path, heldout: str) -> dict[str, dict[str, Any]]:
    """The held-out rows of a model directory by their content."""
    rows = read_rows(model / "data" / "heldout.jsonl")
    if heldout == "texts":
        rows = [row for row in rows if row.get("set") in _TEXTS]
    return {sha256_json({key: value for key, value in row.items() if key != "id"}): row for row in rows}


def _size(row: dict[str, Any]) -> int:
    """UTF-8 bytes of a text, or of the answers of a row."""
    if "text" in row:
        return max(1, len(str(row["text"]).encode("utf-8")))
    turns = row.get("messages")
    answers = (
        [str(turn["content"]) for turn in turns if turn["role"] == "assistant"] if turns else [str(row["response"])]
    )
    return max(1, len("".join(answers).encode("utf-8")))
