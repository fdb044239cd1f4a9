"""Run all requests of all tasks on a model: each once, longest first, cached ones not at all."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tutelage.evaluation.bench.cache import Answer, AnswerCache, key_of
from tutelage.evaluation.bench.protocol import Ask, Likelihood, Measured, Pair, Request, Roll, Written
from tutelage.store.errors import ConfigError, InputError
from tutelage.training.distributed.world import World

PIECE = 8_000  # characters per chunk, unless the model sets its own (`piece`): a few seconds on a CPU
_ALIKE = 500  # characters: contexts with a common prefix of this length share examples and stay together
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Asked:
    """answers: of every request. computed: number of answers not in the cache; seconds: time for these."""

    answers: dict[Request, Answer]
    computed: int
    seconds: float

    def likelihood(self, request: Request) -> Likelihood:
        found = self.answers[request]
        assert isinstance(found, Likelihood)
        return found

    def written(self, request: Request) -> Written:
        found = self.answers[request]
        assert isinstance(found, Written)
        return found


def ask_all(
    model: Measured,
    requests: Sequence[Request],
    cache: AnswerCache,
    progress: Progress | None = None,
    world: World = World(),
) -> Asked:
    """The answer to each request. Each chunk is stored in the cache before the next one starts.

    The chunks depend only on the requests, so a resumed run is bit-identical. Under torchrun each process answers its
    share, and every process gets all answers. Raises ConfigError for likelihood requests to a model without
    likelihoods. """  # fmt: skip
    unique = list(dict.fromkeys(requests))
    if not model.likelihoods and any(not isinstance(one, Ask) for one in unique):
        raise ConfigError(
            f"{model.name} cannot score texts, it only generates",
            hint="use tasks of kind generate (gsm8k, ifeval), or an endpoint with logprobs",
        )
    keys = {request: key_of(model, request) for request in unique}
    # The first process decides what is cached: the others may read the cache later and see more.
    known = world.order(cache.get(list(keys.values())))
    pieces = [
        missing
        for piece in _pieces(unique, getattr(model, "piece", PIECE))
        if (missing := [request for request in piece if keys[request] not in known])
    ]
    computed = sum(map(len, pieces))
    began, done = time.perf_counter(), len(unique) - computed
    mine: dict[Request, Answer] = {}
    for piece in pieces[world.rank :: world.size]:
        answered = list(zip(piece, _answers(model, piece), strict=True))
        cache.put((keys[request], answer) for request, answer in answered)
        mine.update(answered)
        done += len(piece) * world.size
        if progress is not None:
            progress(min(done, len(unique)), len(unique))
    for others in _gathered(mine, world):
        mine.update(others)
    answers = {request: mine[request] if request in mine else known[keys[request]] for request in unique}
    return Asked(answers, computed, time.perf_counter() - began)


def _pieces(requests: Sequence[Request], room: int) -> list[list[Request]]:
    """Requests in chunks of about `room` characters, longest first, with shared contexts together. The first chunk is
    small, so that progress is visible early."""
    pieces, filled, before = list[list[Request]](), 0, ""
    for group in _groups(requests):
        begin = _beginning(group[0])
        behind = sum(_length(request) - len(begin) for request in group)
        size = behind + len(begin) - _common(before, begin)
        full = filled + size > (room if len(pieces) > 1 else room // 8)
        if not pieces or full or type(pieces[-1][0]) is not type(group[0]):
            pieces, filled, size = [*pieces, []], 0, behind + len(begin)
        pieces[-1].extend(group)
        filled, before = filled + size, begin
    return pieces


def _common(a: str, b: str) -> int:
    return next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _beginning(request: Request) -> str:
    """The part that requests of a group share, which is read once."""
    return request.context if isinstance(request, Pair) else ""


def _groups(requests: Sequence[Request]) -> list[list[Request]]:
    """Requests that share work; a chunk never splits such a group. Grouped by kind, longest first."""
    together: dict[tuple[int, str], list[Request]] = {}
    for number, request in enumerate(requests):
        if isinstance(request, Pair) and request.context:
            together.setdefault((0, request.context), []).append(request)
        elif isinstance(request, Pair):  # choices without context: in groups of eight, in order
            together.setdefault((0, f"\0{number // 8}"), []).append(request)
        else:
            together.setdefault((1 if isinstance(request, Roll) else 2, f"\0{number}"), []).append(request)

    longest: dict[tuple[int, str], int] = {}  # longest request of each common beginning
    for (kind, context), group in together.items():
        begin = (kind, context[:_ALIKE])
        longest[begin] = max(longest.get(begin, 0), *(_length(request) for request in group))

    def order(key: tuple[int, str]) -> tuple[int, int, str, int]:
        begin = (key[0], key[1][:_ALIKE])
        return key[0], -longest[begin], begin[1], -max(_length(request) for request in together[key])

    return [together[key] for key in sorted(together, key=order)]


def _length(request: Request) -> int:
    if isinstance(request, Pair):
        return len(request.context) + len(request.continuation)
    return len(request.text if isinstance(request, Roll) else request.prompt)


def _answers(model: Measured, requests: Sequence[Request]) -> list[Answer]:
    found: dict[int, Answer] = {}
    kinds: tuple[tuple[type, Any], ...] = ((Pair, model.score), (Roll, model.rolling), (Ask, model.generate))
    for kind, how in kinds:
        members = [at for at, request in enumerate(requests) if isinstance(request, kind)]
        if members:
            answers: Sequence[Answer] = how([requests[at] for at in members])
            if len(answers) != len(members):
                raise InputError(f"{model.name} gave {len(answers)} answers to {len(members)} requests")
            found.update(zip(members, answers, strict=True))
    for at, answer in found.items():
        if isinstance(answer, Likelihood) and not (math.isfinite(answer.logprob) and answer.logprob <= 1e-3):
            raise InputError(
                f"{model.name} gives {requests[at]!r:.80} the log-probability {answer.logprob}",
                hint="a log-probability must be finite and at most 0; the answers were not stored",
            )
    return [found[at] for at in range(len(requests))]


def _gathered(mine: dict[Request, Answer], world: World) -> list[dict[Request, Answer]]:
    if world.size == 1:
        return []
    import torch.distributed as dist

    box: list[dict[Request, Answer]] = [{} for _ in range(world.size)]
    dist.all_gather_object(box, mine, group=world.orders)
    return box
