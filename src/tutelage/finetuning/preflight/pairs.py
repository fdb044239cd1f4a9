"""Figures of pairs beside their lengths: topics, contradictions, answers that hardly differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tutelage.corpus.dedup import linked_clusters
from tutelage.finetuning.data import Row
from tutelage.finetuning.data.split import NEAR, asked, normalised


def pair_figures(train: Sequence[Row], heldout: Sequence[Row]) -> dict[str, Any]:
    """Of all pairs: different `questions`, the `topics` they make (nearly the same questions are one, as in the split),
    the questions of the `largest_topic`, topics that stand on `both_sides` of the split. Of the training pairs: those
    that are `contradicting` (another one, to the same question, prefers what this one rejects), and whose answers are
    `alike` but for case and white space."""
    training = dict.fromkeys(normalised(asked(row)) for row in train)
    held = dict.fromkeys(normalised(asked(row)) for row in heldout)
    questions = list(training | held)
    topic_of = dict(zip(questions, linked_clusters(questions, NEAR).tolist(), strict=True))
    topics = Counter(topic_of.values())
    preferred = {_sides(row) for row in train}
    sides = [_sides(row) for row in train]
    return {
        "questions": len(questions),
        "topics": len(topics),
        "largest_topic": max(topics.values()),
        "both_sides": len({topic_of[one] for one in training} & {topic_of[one] for one in held}),
        "contradicting": sum(
            chosen != rejected and (question, rejected, chosen) in preferred for question, chosen, rejected in sides
        ),
        "alike": sum(chosen == rejected for _, chosen, rejected in sides),
    }


def _sides(row: Row) -> tuple[str, str, str]:
    return normalised(asked(row)), normalised(str(row["chosen"])), normalised(str(row["rejected"]))
