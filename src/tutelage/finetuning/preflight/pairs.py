"""Statistics of pairs: topics, contradictions, nearly equal answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tutelage.corpus.dedup import linked_clusters
from tutelage.finetuning.data import Row
from tutelage.finetuning.data.split import NEAR, asked, normalised


def pair_figures(train: Sequence[Row], heldout: Sequence[Row]) -> dict[str, Any]:
    """Statistics of the pairs.

    Over all pairs: number of distinct `questions`, of `topics` (groups of near-duplicate questions, as in the split),
    of questions in the `largest_topic`, and of topics on `both_sides` of the split. Over training pairs: those that are
    `contradicting` (another pair with the same question prefers the opposite), and those whose answers are `alike`
    except for case and white space.
    """
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
