"""Prefix sharing: contexts with a common beginning (few-shot examples) are read once for several questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tutelage.evaluation.bench.families import Family

ROOM = 1024  # tokens of a row after the shared prefix
GAIN = 0.8  # families are joined if at most this share of the tokens remains


@dataclass(frozen=True)
class Joined:
    """A family to read, and the original (family, continuation) indices of each of its continuations."""

    family: Family
    origin: list[tuple[int, int]]

    @classmethod
    def alone(cls, number: int, family: Family) -> Joined:
        return cls(family, [(number, at) for at in range(len(family.continuations))])


def joined(families: Sequence[Family]) -> list[Joined]:
    """The same requests in fewer tokens: families with a common prefix become one family with the prefix as its
    context; the rests of their contexts move into the continuations."""
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
    """Tokens to read. Unjoined, a context is read once for all its continuations; joined, its rest once for each."""
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
    """Length of the common prefix, leaving at least one id of each."""
    most = min(len(a), len(b)) - 1
    return next((at for at in range(most) if a[at] != b[at]), max(0, most))
