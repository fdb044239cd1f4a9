"""Log-likelihoods of continuations that share their contexts: each context is read once, whatever follows it.

A family is a context and what may come after it. It is one row: the context, then each continuation as a branch that
sees the context and itself (`AttentionMask`), so that each reads as if it stood alone behind it. Continuations that
read the same (all of one token: nothing but the context) are one branch, and logits are made only where a token is
scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tutelage.inference.scoring import LOGITS_AT_ONCE, length_batches, padded
from tutelage.model.decoder import DecoderLM

BATCH_TOKENS = 4096  # tokens of a batch on a CPU, padding included
WIDE_BATCH_TOKENS = 32768  # on a GPU


@dataclass(frozen=True)
class Family:
    """context: at least one id. continuations: none is empty. counts: how many of the last ids of each are scored;
    None: all."""

    context: Sequence[int]
    continuations: Sequence[Sequence[int]]
    counts: Sequence[int] | None = None


@dataclass
class _Row:
    """ids to read; positions and branches of these; targets: (continuation, place in the row, id to score)."""

    ids: list[int]
    positions: list[int]
    branches: list[int]
    targets: list[tuple[int, int, int]] = field(default_factory=list)


@torch.inference_mode()
def family_logprobs(model: DecoderLM, families: Sequence[Family]) -> list[list[tuple[float, bool]]]:
    """For each continuation of each family (sum of natural-log probabilities, whether every token is the likeliest).

    Sums in float64 of float32 log-probabilities. No context with its continuation may be longer than the model reads.
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
    for batch in length_batches([len(row.ids) for row in rows], most):
        members = [rows[index] for index in batch]
        for index, found in zip(batch, _read(model, members), strict=True):
            number, first = owner[index]
            results[number][first : first + len(found)] = found
    return results


def _row(context: Sequence[int], continuations: Sequence[Sequence[int]], counts: Sequence[int] | None) -> _Row:
    row = _Row(list(context), list(range(len(context))), [0] * len(context))
    begun: dict[tuple[int, ...], int] = {(): len(context)}  # what a branch reads -> where it stands
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


def _read(model: DecoderLM, rows: Sequence[_Row]) -> list[list[tuple[float, bool]]]:
    device = model.embed_tokens.weight.device
    tokens = padded([row.ids for row in rows])
    if any(row.branches[-1] > 1 for row in rows):  # one branch alone is a text like any other
        positions, branches = padded([row.positions for row in rows]), padded([row.branches for row in rows])
        lengths = torch.tensor([len(row.ids) for row in rows])
        documents = (torch.arange(tokens.shape[1]) < lengths[:, None]).long()  # 0 is padding
        hidden = model.hidden(
            tokens.to(device), positions.to(device), documents.to(device), branches=branches.to(device)
        )
    else:
        hidden = model.hidden(tokens.to(device))
    flat = [(at, number, place, wanted) for at, row in enumerate(rows) for number, place, wanted in row.targets]
    flat.sort(key=lambda one: (one[0], one[2]))
    logprobs, greedy = _score(
        model, hidden, torch.tensor([(at, place) for at, _, place, _ in flat]), torch.tensor([one[3] for one in flat])
    )
    sums = [[0.0] * (1 + max(number for number, _, _ in row.targets)) for row in rows]
    likeliest = [[True] * len(each) for each in sums]
    for (at, number, _, _), value, best in zip(flat, logprobs.double().tolist(), greedy.tolist(), strict=True):
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
