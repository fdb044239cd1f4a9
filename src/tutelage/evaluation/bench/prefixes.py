"""Contexts that begin alike (the examples before every question) are read once as well: several questions, one row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tutelage.evaluation.bench.families import Family

ROOM = 1024  # tokens of a row behind what its questions share
GAIN = 0.8  # rows are joined where that leaves at most this share of the tokens


@dataclass(frozen=True)
class Joined:
    """A family to read, and for each of its continuations (number of the family, continuation in it) it stands for."""

    family: Family
    origin: list[tuple[int, int]]

    @classmethod
    def alone(cls, number: int, family: Family) -> Joined:
        return cls(family, [(number, at) for at in range(len(family.continuations))])


def joined(families: Sequence[Family]) -> list[Joined]:
    """The same requests in fewer tokens: families whose contexts share a beginning become one whose context that is,
    and whose continuations begin with the rest of theirs."""
    order = sorted(range(len(families)), key=lambda number: list(families[number].context))
    result, group, shared = list[Joined](), list[int](), 0
    for number in order:
        common = _common(families[group[-1]].context, families[number].context) if group else 0
        common = min(shared, common) if len(group) > 1 else common
        wider = [*group, number]
        if (
            group
            and _cost(families, wider, common) <= GAIN * (_cost(families, group, shared) + _cost(families, [number], 0))
            and _behind(families, wider, common) <= ROOM
        ):
            group, shared = wider, common
        else:
            result += _made(families, group, shared)
            group, shared = [number], 0
    return result + _made(families, group, shared)


def _made(families: Sequence[Family], group: list[int], shared: int) -> list[Joined]:
    if len(group) < 2:
        return [Joined.alone(number, families[number]) for number in group]
    whole, counts, origin = list[list[int]](), list[int](), list[tuple[int, int]]()
    for number in group:
        rest = list(families[number].context[shared:])
        for at, continuation in enumerate(families[number].continuations):
            whole.append([*rest, *continuation])
            counts.append(len(continuation))
            origin.append((number, at))
    return [Joined(Family(families[group[0]].context[:shared], whole, counts), origin)]


def _cost(families: Sequence[Family], group: list[int], shared: int) -> int:
    """Tokens to read. Alone a context stands once before all its continuations; joined, its rest before each."""
    if len(group) == 1:
        one = families[group[0]]
        return len(one.context) + sum(len(read) for read in _reads(one))
    return shared + _behind(families, group, shared)


def _behind(families: Sequence[Family], group: list[int], shared: int) -> int:
    return sum(
        len(families[number].context) - shared + len(read) for number in group for read in _reads(families[number])
    )


def _reads(family: Family) -> set[tuple[int, ...]]:
    return {tuple(continuation[:-1]) for continuation in family.continuations}


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many ids both begin with; one of each is left for itself."""
    most = min(len(a), len(b)) - 1
    return next((at for at in range(most) if a[at] != b[at]), max(0, most))
