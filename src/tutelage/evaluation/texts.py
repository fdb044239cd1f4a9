"""Held-out texts of continued pretraining: bits per byte before and after, and whether the model still ends its
answers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.figures import Comparison, Figure, figure, row
from tutelage.evaluation.language import rolling
from tutelage.evaluation.paired import Resampling, compare_means, compare_shares, pairs_of
from tutelage.evaluation.spec import Subject, asked_of
from tutelage.evaluation.statistics import bootstrap_ratio, wilson
from tutelage.evaluation.writing import Answers, write_answers
from tutelage.store.events import EventLog
from tutelage.store.hashing import sha256_json
from tutelage.store.jsonl import read_rows

if TYPE_CHECKING:
    from tutelage.inference.language_model import LanguageModel

ASKED, ENDS = "asked", "general answers end"
KINDS = ("new text", "general text", "own text")
MEASURES = (*(f"bits per byte, {kind}" for kind in KINDS), ENDS)
ANSWER_TOKENS = 192  # limit of an answer to a general question: twice the length of the sampled ones
_NOTES = {
    "new text": "Held-out documents of the text that the model was further trained on.",
    "general text": "Text that it was not trained on: a loss here is forgetting.",
    "own text": "Text that the model generated before further training: a loss here is forgetting.",
}


@dataclass
class TextSet:
    """Documents of one kind (or questions, `ASKED`), the models that read them, and each model's results."""

    kind: str
    owner: str
    rows: list[dict[str, Any]]
    readers: list[str]
    likelihoods: dict[str, list[float]] = field(default_factory=dict)
    answers: dict[str, Answers] = field(default_factory=dict)


def text_sets(subjects: Sequence[Subject], models: Mapping[str, Path], wanted: Sequence[str]) -> list[TextSet]:
    """Every distinct set of held-out texts of a subject, with the models of its lineage that read it."""
    found: dict[str, TextSet] = {}
    for name, readers in asked_of(subjects, wanted, ("texts",)).items():
        rows = read_rows(models[name] / "data" / "heldout.jsonl")
        for kind in dict.fromkeys(one["set"] for one in rows):
            mine = [one for one in rows if one["set"] == kind]
            known = found.setdefault(sha256_json(mine), TextSet(kind, name, mine, []))
            known.readers += [one for one in readers if one not in known.readers]
    return list(found.values())


def read_set(lm: LanguageModel, who: str, one: TextSet, chat: bool, config: EvaluateConfig, log: EventLog) -> None:
    """Score the set, or answer its questions, with a model if it is one of its readers."""
    if who not in one.readers:
        return
    if one.kind == ASKED:
        questions = [{"asked": [{"role": "user", "content": item["prompt"]}]} for item in one.rows]
        longer = config.with_(max_tokens=max(config.max_tokens, ANSWER_TOKENS))
        one.answers[who] = write_answers(lm, who, questions, chat, longer, log)
    else:
        texts = [item["text"] for item in one.rows]
        one.likelihoods[who] = rolling(lm, f"{who}: {one.kind}", texts, config.batch, log)


def set_figures(one: TextSet, config: EvaluateConfig, seed: int) -> tuple[list[Figure], list[Comparison]]:
    """Bits per byte of the documents, or the share of questions whose answer ends; all pairs of readers compared."""
    how = Resampling.of(config, seed)
    n = len(one.rows)
    if one.kind == ASKED:
        ended = {who: answers.ended or [] for who, answers in one.answers.items()}
        rows = [row(who, wilson(sum(flags), n, config.confidence), n) for who, flags in ended.items()]
        note = (
            f"{n} questions that the model generated earlier, answered greedily; stopped before {ANSWER_TOKENS} tokens."
        )
        pairs = [(a, b) for a, b in pairs_of(list(ended), []) if a in ended and b in ended]
        compared = [compare_shares(a, b, ENDS, ended[a], ended[b], how) for a, b in pairs]
        return [figure("general questions", ENDS, "share", True, rows, note)], compared
    measure = f"bits per byte, {one.kind}"
    size = [max(1, len(item["text"].encode())) for item in one.rows]
    bits = {who: [-value / math.log(2) for value in values] for who, values in one.likelihoods.items()}
    rows = [row(who, bootstrap_ratio(values, size, **how.options), n) for who, values in bits.items()]
    compared = []
    for a, b in pairs_of(list(bits), []):
        before = sum(bits[b]) / sum(size)
        change = 100 * (sum(bits[a]) / sum(size) / before - 1)
        compared.append(
            compare_means(a, b, measure, bits[a], bits[b], how, weights=size, higher_is_better=False,
                          unit="bits per byte", digits=3, note=f" ({a} {change:+.1f} %)")
        )  # fmt: skip
    return [figure(one.kind, measure, "bits per byte", False, rows, _NOTES.get(one.kind, ""))], compared


def answer_samples(one: TextSet, config: EvaluateConfig) -> list[dict[str, Any]]:
    """A few general questions with all models' answers, for samples.jsonl."""
    rows = one.rows[: config.samples] if one.kind == ASKED else []
    return [
        {
            "kind": "answer",
            "set": one.owner,
            "prompt": item["prompt"],
            "outputs": {who: answers.texts[number] for who, answers in one.answers.items()},
        }
        for number, item in enumerate(rows)
    ]
