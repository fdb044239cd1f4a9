"""Log-likelihoods of continuations that share contexts: each context is read once.

A family is a context with its possible continuations: the context, then each continuation as a branch that attends to
the context and itself (`AttentionMask`), as if it were alone. Continuations with the same input (one-token ones only
read the context) share a branch. Families are packed into rows with almost no padding, and logits are computed only
where a token is scored.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tutelage.inference.scoring import LOGITS_AT_ONCE, padded
from tutelage.model.decoder import DecoderLM

ROW_TOKENS = 512  # approximate row length; rows are filled evenly
BATCH_TOKENS = 4096  # tokens per batch on a CPU, padding included
WIDE_BATCH_TOKENS = 32768  # on a GPU


@dataclass(frozen=True)
class Family:
    """context: at least one id. continuations: not empty. counts: final ids scored per continuation; None: all."""

    context: Sequence[int]
    continuations: Sequence[Sequence[int]]
    counts: Sequence[int] | None = None


@dataclass
class _Row:
    """Input ids with their positions and branches; targets: (continuation, place in the row, id to score)."""

    ids: list[int]
    positions: list[int]
    branches: list[int]
    targets: list[tuple[int, int, int]] = field(default_factory=list)


@torch.inference_mode()
def family_logprobs(model: DecoderLM, families: Sequence[Family]) -> list[list[tuple[float, bool]]]:
    """(Sum of natural-log probabilities, whether every token is the likeliest) for each continuation of each family.

    Sums in float64 of float32 log-probabilities. A context plus continuation must fit the model's context.
    """
    alone = not model.config.can_branch
    rows, owner = list[_Row](), list[tuple[int, int]]()
    for number, family in enumerate(families):
        parts = [[one] for one in range(len(family.continuations))] if alone else [range(len(family.continuations))]
        for part in parts:
            counts = None if family.counts is None else [family.counts[index] for index in part]
            rows.append(_row(family.context, [family.continuations[index] for index in part], counts))
            owner.append((number, part[0]))
    results = [[(0.0, True)] * len(family.continuations) for family in families]
    most = BATCH_TOKENS if model.embed_tokens.weight.device.type == "cpu" else WIDE_BATCH_TOKENS
    lengths = [len(row.ids) for row in rows]
    packed = _packed(lengths, ROW_TOKENS)
    count = max(1, most // max((sum(lengths[index] for index in members) for members in packed), default=1))
    for start in range(0, len(packed), count):
        lines = packed[start : start + count]
        found = _read(model, [[rows[index] for index in members] for members in lines])
        for index, scores in zip((index for members in lines for index in members), found, strict=True):
            number, first = owner[index]
            results[number][first : first + len(scores)] = scores
    return results


def _row(context: Sequence[int], continuations: Sequence[Sequence[int]], counts: Sequence[int] | None) -> _Row:
    row = _Row(list(context), list(range(len(context))), [0] * len(context))
    begun: dict[tuple[int, ...], int] = {(): len(context)}  # input of a branch -> its start in the row
    for number, continuation in enumerate(continuations):
        read = tuple(continuation[:-1])
        if read not in begun:
            begun[read] = len(row.ids)
            row.ids += read
            row.positions += range(len(context), len(context) + len(read))
            row.branches += [len(begun) - 1] * len(read)
        places = [len(context) - 1, *range(begun[read], begun[read] + len(read))]
        targets = [(number, place, wanted) for place, wanted in zip(places, continuation, strict=True)]
        row.targets += targets if counts is None else targets[len(targets) - counts[number] :]
    return row


def _packed(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Indices in groups of about equal length, about `room` at most: longest processing time first (Graham 1969)."""
    count = max(1, -(-sum(lengths) // max([room, *lengths])))
    groups = [list[int]() for _ in range(count)]
    filled = [(0, at) for at in range(count)]
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        total, at = heapq.heappop(filled)
        groups[at].append(index)
        heapq.heappush(filled, (total + lengths[index], at))
    return [group for group in groups if group]


def _read(model: DecoderLM, packed: Sequence[Sequence[_Row]]) -> list[list[tuple[float, bool]]]:
    """The scores of each row's family, in row order."""
    device = model.embed_tokens.weight.device
    tokens, positions, branches = (
        padded([[value for row in members for value in getattr(row, name)] for members in packed]).to(device)
        for name in ("ids", "positions", "branches")
    )
    # 0 is padding
    documents = padded([[number for number, row in enumerate(members, 1) for _ in row.ids] for members in packed])
    several = model.config.can_branch and any(row.branches[-1] > 1 for members in packed for row in members)
    hidden = model.hidden(tokens, positions, documents.to(device), branches=branches if several else None)
    flat, rows = list[tuple[int, int, int, int, int]](), list[_Row]()  # (line, place, wanted, row, continuation)
    for line, members in enumerate(packed):
        start = 0
        for row in members:
            flat += [(line, start + place, wanted, len(rows), number) for number, place, wanted in row.targets]
            start += len(row.ids)
            rows.append(row)
    flat.sort()
    logprobs, greedy = _score(
        model, hidden, torch.tensor([one[:2] for one in flat]), torch.tensor([one[2] for one in flat])
    )
    sums = [[0.0] * (1 + max(number for number, _, _ in row.targets)) for row in rows]
    likeliest = [[True] * len(each) for each in sums]
    for (_, _, _, at, number), value, best in zip(flat, logprobs.double().tolist(), greedy.tolist(), strict=True):
        sums[at][number] += value
        likeliest[at][number] &= best
    return [list(zip(*pair, strict=True)) for pair in zip(sums, likeliest, strict=True)]


def _score(model: DecoderLM, hidden: Tensor, places: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """logprobs [targets] float32 and whether each is the likeliest, on the CPU; places [targets, 2] in order."""
    where, which = torch.unique_consecutive(places, dim=0, return_inverse=True)
    where, which, wanted = where.to(hidden.device), which.to(hidden.device), wanted.to(hidden.device)
    states = hidden[where[:, 0], where[:, 1]]
    logprobs = torch.empty(len(wanted), dtype=torch.float32, device=hidden.device)
    greedy = torch.empty(len(wanted), dtype=torch.bool, device=hidden.device)
    step = max(1, LOGITS_AT_ONCE // model.config.vocab_size)
    for start in range(0, len(states), step):
        logits = model.logits(states[start : start + step])
        mine = slice(*torch.searchsorted(which, torch.tensor([start, start + step], device=which.device)).tolist())
        at, ids = which[mine] - start, wanted[mine]
        logprobs[mine] = logits[at, ids] - logits.logsumexp(-1)[at]
        greedy[mine] = logits.argmax(-1)[at] == ids
    return logprobs.cpu(), greedy.cpu()
