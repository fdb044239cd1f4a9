"""Grade generated text: extract the answer by a pattern and compare it, as lm-evaluation-harness does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tutelage.evaluation.bench.instructions import kept
from tutelage.evaluation.bench.items import Item
from tutelage.evaluation.bench.task import BenchTask, Extraction
from tutelage.evaluation.metrics import chrf, rouge_l

NOTHING = "[invalid]"  # placeholder for an answer that was not found


def grades(task: BenchTask, item: Item, text: str) -> dict[str, float]:
    """Each metric of a generated answer, 0 to 1: one per extraction of the task (`exact` if it has none)."""
    if task.rule == "instructions":
        return kept(item.row, text)
    if task.rule == "likeness":
        return likeness(text, item.targets)
    found = found_answers(task.extract, text)
    return {name: float(matches(answer, item.targets, task.ignore)) for name, answer in found.items()}


def likeness(text: str, targets: Sequence[str]) -> dict[str, float]:
    """chrF and ROUGE-L of a text, 0 to 1, each the maximum over the targets."""
    text = text.strip()
    return {
        "chrf": max(chrf([text] * len(targets), list(targets)), default=0.0) / 100,
        "rouge_l": max((rouge_l(text, target) for target in targets), default=0.0) / 100,
    }


def found_answers(extract: Mapping[str, Extraction], text: str) -> dict[str, str]:
    if not extract:
        return {"exact": text.strip()}
    return {name: _extracted(one, text) for name, one in extract.items()}


def matches(answer: str, targets: Sequence[str], ignore: Sequence[str]) -> bool:
    """Whether the answer equals a target, ignoring case and everything that matches `ignore` (regular expressions)."""
    return _bare(answer, ignore) in {_bare(target, ignore) for target in targets}


def _bare(text: str, ignore: Sequence[str]) -> str:
    for pattern in ignore:
        text = re.sub(pattern, "", text)
    return text.lower()


def _extracted(one: Extraction, text: str) -> str:
    found = re.findall(one.pattern, text)
    if not found:
        return NOTHING
    taken = found[one.match]
    if isinstance(taken, tuple):  # a pattern with several groups
        taken = next((group for group in taken if group), NOTHING)
    return str(taken).strip()
