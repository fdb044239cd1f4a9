"""Whether answers end: repetition loops, and answers truncated at the token limit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tutelage.evaluation.clusters import share_interval, usable
from tutelage.evaluation.figures import Comparison, Figure, figure, row
from tutelage.evaluation.paired import Clusters, Resampling, compare_all

ENDS, LOOPS = "ends by itself", "loops"
SAMPLED = ", sampled"  # suffix of a measure's name: sampled at temperature 1 instead of greedy

LEAST_REPEATS = 3
LEAST_SHARE = 0.4  # of the answer
# Checked on 15,705 answers of public data sets (by people and large models), where it finds one, a true loop, and on 40
# greedy answers of a 135M model, where it finds the ten that a reader calls loops.

# A word, a character of a script without spaces between words, or a punctuation mark.
_UNIT = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u0e00-\u9fff\uac00-\ud7af]+|[^\w\s]")


@dataclass(frozen=True)
class Loop:
    """The tail of an answer repeats its last `period` units (words or marks) `repeats` times."""

    period: int
    repeats: float
    share: float


def loop_of(text: str) -> Loop | None:
    """The repetition loop at the end of an answer, or None.

    A loop is a tail of the answer that repeats the same sequence of words and marks (ignoring case) at least three
    times and makes up 40 % of the answer or more. In a sequence of two or more words, numbers may differ: a list whose
    items all say the same is a loop, a list of numbers is not. Linear time (Z function of the reversed units, Gusfield
    1997, section 1.3).
    """
    units = [unit.lower() for unit in _UNIT.findall(text)]
    exact = _longest(units, 0)
    return exact or _longest(["0" if unit.isdigit() else unit for unit in units], 2)


def _longest(units: Sequence[str], least_words: int) -> Loop | None:
    """The loop that covers most of the units, with at least `least_words` words per repetition."""
    count = len(units)
    alike = _prefix_lengths(units[::-1])
    best: Loop | None = None
    for period in range(1, count // LEAST_REPEATS + 1):
        covered = period + alike[period]
        words = sum(unit[0].isalpha() for unit in units[count - period :]) if least_words else 0
        if covered >= LEAST_REPEATS * period and covered >= LEAST_SHARE * count and words >= least_words:
            found = Loop(period, covered / period, covered / count)
            best = found if best is None or found.share > best.share else best
    return best


@dataclass(frozen=True)
class Ending:
    """How one system's answers end: which loop, and which ended before the token limit (None: unknown)."""

    loops: list[bool]
    ended: list[bool] | None

    @classmethod
    def of(cls, texts: Sequence[str], ended: Sequence[bool] | None) -> Ending:
        return cls([loop_of(text) is not None for text in texts], None if ended is None else list(ended))


def ending_figures(
    task: str,
    greedy: Mapping[str, Ending],
    sampled: Mapping[str, Ending],
    references: tuple[str, Ending],
    pairs: Sequence[tuple[str, str]],
    max_tokens: int,
    how: Resampling,
    clusters: Clusters = None,
) -> tuple[list[Figure], list[Comparison]]:
    """Shares of answers that end before the token limit and that loop, greedy and sampled, with the references.

    sampled: answers to the first of the same prompts; empty: none were sampled. pairs: systems to compare.
    """
    figures: list[Figure] = []
    comparisons: list[Comparison] = []
    for suffix, parties in (("", greedy), (SAMPLED, sampled)):
        if not parties:
            continue
        n = len(next(iter(parties.values())).loops)
        packages = usable(clusters[:n]) if clusters is not None else None
        name, ending = references
        reference = Ending(ending.loops[:n], None if ending.ended is None else ending.ended[:n])
        everyone = {**parties, name: reference}
        drawn = f"{n} prompts, sampled at temperature 1. " if suffix else ""
        notes = {
            ENDS: f"{drawn}Stopped before {max_tokens} tokens; the others were truncated. For references: "
            "within that limit.",
            LOOPS: f"{drawn}Ends in a sequence of words repeated {LEAST_REPEATS} times or more that makes up "
            f"{100 * LEAST_SHARE:.0f} % of the answer or more. With {max_tokens} tokens, sequences longer than a third "
            "of that are not detected.",
        }
        flags = {
            ENDS: {who: one.ended for who, one in everyone.items() if one.ended is not None},
            LOOPS: {who: one.loops for who, one in everyone.items()},
        }
        for measure, of in flags.items():
            rows = [
                row(who, share_interval(each, packages, how.confidence), n, "reference" if who == name else "model")
                for who, each in of.items()
            ]
            figures.append(figure(task, measure + suffix, "share", measure == ENDS, rows, notes[measure]))
            comparisons += compare_all(
                measure + suffix, of, pairs, how, shares=True, higher_is_better=measure == ENDS, clusters=packages
            )
    return figures, comparisons


def _prefix_lengths(units: Sequence[str]) -> list[int]:
    """For each position, the length of the longest common prefix with the start of the sequence (the Z function)."""
    found = [len(units)] + [0] * max(0, len(units) - 1)
    left = right = 0
    for at in range(1, len(units)):
        length = min(right - at, found[at - left]) if at < right else 0
        while at + length < len(units) and units[length] == units[at + length]:
            length += 1
        found[at] = length
        if at + length > right:
            left, right = at, at + length
    return found
