"""Scores of every model on every item, stored with the figures so that two runs can be compared item by item."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.evaluation.language import BITS, ORDER, Likelihoods
from tutelage.evaluation.likelihood import LOSS, HeldoutRows, Scored
from tutelage.evaluation.subjects import PromptSet
from tutelage.evaluation.writing import CHRF, ROUGE, RULE, Answers, graded
from tutelage.store.hashing import sha256_json

if TYPE_CHECKING:
    from tutelage.evaluation.baselines import Document
    from tutelage.evaluation.order import Pair

Item = dict[str, Any]
FILE = "items.parquet"
RIGHT = "texts right"
_ID = 16  # hexadecimal digits of the hash of an item's content


def text_items(models: Mapping[str, Likelihoods], documents: Sequence[Document], pairs: Sequence[Pair]) -> list[Item]:
    """Bits per byte of each document, weighted by its bytes; correctness of each word-order pair."""
    found = []
    for who, scores in models.items():
        for document, logprob in zip(documents, scores.documents, strict=True):
            size = document.bytes
            value = -logprob / math.log(2) / size
            found.append(_item(who, "held-out text", BITS, document.id, value, size, document.source))
        for pair, right in zip(pairs, scores.right, strict=True):
            found.append(_item(who, ORDER, ORDER, _id([pair.real, pair.swapped]), right, 1.0, pair.source))
    return found


def loss_items(one: HeldoutRows, scored: Mapping[str, Scored]) -> list[Item]:
    """Nats per answer token of each held-out row, weighted by its tokens."""
    found = []
    for who, party in scored.items():
        for row, logprob, tokens in zip(one.rows, party.logprobs, party.tokens, strict=True):
            value = float(-logprob / tokens)
            found.append(_item(who, f"{one.kind} of {one.name}", LOSS, _id(row), value, float(tokens)))
    return found


def answer_items(
    one: PromptSet, prompts: Sequence[dict[str, Any]], parties: Mapping[str, Answers], sources: Sequence[str | None]
) -> list[Item]:
    """chrF and ROUGE-L of each answer and, if the task has a rule, whether it passed."""
    found = []
    for who, answers in parties.items():
        party = graded(answers, prompts, one.task.grade if one.task else None)
        for measure, values in ((CHRF, party.chrf), (ROUGE, party.rouge), (RULE, party.rule_passed)):
            for asked, value, source in zip(prompts, values, sources, strict=True) if values else ():
                name = _id([asked["asked"], asked["response"]])
                found.append(_item(who, one.title, measure, name, float(value), 1.0, source or ""))
    return found


def label_items(who: str, task: str, rows: Sequence[dict[str, Any]], labels: Sequence[str]) -> list[Item]:
    """Whether the label of each text is the true one."""
    return [
        _item(who, task, RIGHT, _id([row["text"], row["label"]]), float(label == row["label"]), 1.0)
        for row, label in zip(rows, labels, strict=True)
    ]


def write_items(path: Path, items: Iterable[Item]) -> None:
    """Write all items as one Parquet table; a metric is sum(value * weight) / sum(weight)."""
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    seen: Counter[tuple[str, ...]] = Counter()
    rows = []
    for one in items:
        key = (one["who"], one["task"], one["metric"], one["item"])
        seen[key] += 1
        rows.append(one if seen[key] == 1 else {**one, "item": f"{one['item']}-{seen[key]}"})
    text, number = arrow.string(), arrow.float64()
    names = {
        "who": text,
        "task": text,
        "metric": text,
        "item": text,
        "cluster": text,
        "value": number,
        "weight": number,
    }
    columns = [arrow.array([row[name] for row in rows], kind) for name, kind in names.items()]
    parquet.write_table(arrow.table(columns, schema=arrow.schema(list(names.items()))), path, compression="zstd")


def _item(who: str, task: str, metric: str, item: str, value: float, weight: float, cluster: str = "") -> Item:
    return {"who": who, "task": task, "metric": metric, "item": item, "cluster": cluster or None, "value": value,
            "weight": float(weight)}  # fmt: skip


def _id(content: Any) -> str:
    return sha256_json(content)[:_ID]
