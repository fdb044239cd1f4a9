"""Preflight check of a multi-label classifier's training data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tutelage.finetuning.classify.rows import framed
from tutelage.finetuning.data import Audit, Row
from tutelage.finetuning.data.audit import listed
from tutelage.finetuning.data.split import normalised
from tutelage.finetuning.multilabel.config import MultilabelConfig
from tutelage.finetuning.multilabel.rows import labels_of, only_labels, own_rows
from tutelage.finetuning.preflight.account import begun, concluded, text_lengths
from tutelage.finetuning.preflight.figures import duplicate_figures
from tutelage.finetuning.preflight.findings import Finding, Found, finding
from tutelage.finetuning.preflight.sample import runs
from tutelage.model.config import ModelConfig
from tutelage.store.events import EventLog
from tutelage.store.format import plural
from tutelage.tokenizer.tokenizer import Tokenizer

RARE, RARE_HELDOUT = 10, 5  # texts per label; with fewer it is hard to learn or to measure
EMPTY = 0.5  # share of texts without a label that warrants a note
EVERYWHERE = 0.9  # share of texts with the same label that warrants a note


def preflight(
    config: MultilabelConfig, tok: Tokenizer, model: ModelConfig, log: EventLog, data_seed: int
) -> dict[str, Any]:
    """Labels, lengths and duplicates of the user's file. Raises InputError if it is unusable."""
    split, audit = own_rows(config, log, data_seed)
    labels = labels_of(config, split.train, split.heldout)
    train, heldout = (only_labels(rows, labels.kept) for rows in (split.train, split.heldout))
    limit = min(config.max_tokens, config.context_length, model.max_position_embeddings)
    return label_sets_account(
        framed(tok, config.frame, model), train, heldout, limit, audit, config.columns, labels.plain()["dropped"]
    )


def label_sets_account(
    tok: Tokenizer, train: Sequence[Row], heldout: Sequence[Row], limit: int, audit: Audit | None,
    columns: Mapping[str, str], dropped: Mapping[str, Mapping[str, Any]] | None = None, cut: bool = False,
) -> Found:  # fmt: skip
    """Audit of texts with any number of labels, truncated to `limit` tokens. dropped: labels that are not trained,
    unless reported already. cut: texts are truncated already."""
    found = begun("texts", train, heldout, audit, columns)
    if not cut:
        found["length"] = text_lengths(tok, train, limit)
    found["duplicates"] = duplicate_figures([row["text"] for row in train], [row["text"] for row in heldout])
    sets = found["label_sets"] = label_set_figures(train, heldout)
    found["dropped_labels"] = dict(dropped or {})
    found["lines"] = _lines(sets)
    found["said"] = f"{len(sets['labels'])} labels, {sets['mean']:g} per text on average; {_sizes(sets)}"
    shown = next((row for row in train if len(row["labels"]) > 1), train[0])
    ids = tok.framed(tok.encode(shown["text"]))[:limit]
    named = ", ".join(shown["labels"]) or "no label"
    found["sample"] = [{"title": "", "runs": [*runs(tok, ids, [0.0] * len(ids)), (f" -> {named}", True)]}]
    return concluded(found, _findings(sets, len(train)))


def label_set_figures(train: Sequence[Row], heldout: Sequence[Row]) -> dict[str, Any]:
    """Number of training texts (`labels`) and of held-out texts (`heldout`) per label; `mean` number of labels per text
    and its histogram (`sizes`); groups of labels that always occur `together`, in three texts or more; number of texts
    that occur several times with different labels (`contradicting`)."""
    counts = Counter(label for row in train for label in row["labels"])
    held = Counter(label for row in heldout for label in row["labels"])
    sizes = Counter(len(row["labels"]) for row in train)
    places: dict[str, list[int]] = {}
    for at, row in enumerate(train):
        for label in row["labels"]:
            places.setdefault(label, []).append(at)
    groups: dict[tuple[int, ...], list[str]] = {}
    for label in sorted(places):
        groups.setdefault(tuple(places[label]), []).append(label)
    seen: dict[str, set[tuple[str, ...]]] = {}
    for row in [*train, *heldout]:
        seen.setdefault(normalised(row["text"]), set()).add(tuple(row["labels"]))
    ranked = sorted({*counts, *held}, key=lambda label: (-counts[label], label))
    return {
        "labels": {label: counts[label] for label in ranked},
        "heldout": {label: held[label] for label in ranked},
        "mean": round(sum(counts.values()) / len(train), 2),
        "sizes": {size: sizes[size] for size in sorted(sizes)},
        "together": [labels for texts, labels in groups.items() if len(labels) > 1 and len(texts) >= 3],
        "contradicting": sum(len(sets) > 1 for sets in seen.values()),
    }


def _sizes(sets: Mapping[str, Any]) -> str:
    """E.g. '12 texts without one, 60 with one, 28 with several (4 at most)'."""
    sizes = sets["sizes"]
    several = sum(count for size, count in sizes.items() if size > 1)
    most = f" ({max(sizes)} at most)" if several else ""
    return f"{plural(sizes.get(0, 0), 'text')} without one, {sizes.get(1, 0)} with one, {several} with several{most}"


def _lines(sets: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    counts = [f"{label} {count} and {sets['heldout'][label]}" for label, count in sets["labels"].items()]
    said = [
        f"{len(counts)}, in training and held-out texts: {listed(counts, 12)}",
        f"{sets['mean']:g} per text on average: {_sizes(sets)}",
    ]
    return [("Labels", said)]


def _findings(sets: Mapping[str, Any], rows: int) -> list[Finding]:
    made, counts = [], sets["labels"]
    if rare := {label: count for label, count in counts.items() if count < RARE}:
        said = f"labels with fewer than {RARE} training texts, {len(rare)} of {len(counts)}: {_named(rare)}"
        made.append(finding("warning", said, "they are hard to learn: give more rows, or merge labels"))
    if few := {label: count for label, count in sets["heldout"].items() if count < RARE_HELDOUT}:
        said = f"labels with fewer than {RARE_HELDOUT} held-out texts, {len(few)} of {len(counts)}: {_named(few)}"
        made.append(finding("note", said, "macro-F1 then depends on single texts"))
    for label, count in counts.items():
        if count >= EVERYWHERE * rows:
            said = (
                f"{count / rows:.0%} of the training texts have the label {label!r}: predicting it is not informative"
            )
            made.append(finding("note", said, "use macro-F1"))
    if (without := sets["sizes"].get(0, 0)) >= EMPTY * rows:
        said = f"{without / rows:.0%} of the training texts have no label: exact match is not informative"
        made.append(finding("note", said, "use micro-F1"))
    if sets["together"]:
        said = f"labels that always occur together: {listed([' and '.join(group) for group in sets['together']], 3)}"
        made.append(finding("note", said, "one of them is enough"))
    if count := sets["contradicting"]:
        said = f"texts that occur several times with different labels: {count}"
        made.append(finding("warning", said, "put all labels of a text into one row"))
    return made


def _named(labels: Mapping[str, int]) -> str:
    return listed([f"{label!r} {count}" for label, count in labels.items()], 8)
