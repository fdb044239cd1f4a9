"""One thread that decodes for everyone: requests come and go between two steps of the engine."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import queue
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from tutelage.inference.choosing import Chooser
from tutelage.inference.engine import Engine
from tutelage.inference.language_model import LanguageModel
from tutelage.inference.pieces import Piece, Pieces
from tutelage.inference.sampling import Sampling
from tutelage.inference.sequences import Answer, Failure, PromptScores
from tutelage.model.cache import bytes_per_token

logger = logging.getLogger(__name__)
LOOK_UP = 0.1  # seconds between two looks at whether the client is still there
KEPT = 8  # prompts that stay in memory for others that begin alike
_SHARE = 4  # of the machine's memory one part in so many may be keys and values


_Works = queue.SimpleQueue[Callable[[], None] | None]


class BusyError(Exception):
    """The line is full."""


class DeadlineError(Exception):
    """The request took too long, waiting included."""


class ClientGoneError(Exception):
    """Nobody is there any more to read the answer."""


class EndingError(Exception):
    """The server ends, and has no more time for this answer."""


class Worker:
    """Decodes the requests of all clients together and hands the pieces of each to the event loop.

    Up to `together` answers are made at once by each model, `waiting` requests more may stand in line. Nothing is made
    for a client that has gone: its request leaves before the next step, also while its prompt is being read. A failure
    ends its own request; one of the engine itself ends those it was decoding.
    """

    def __init__(self, lms: Mapping[str, LanguageModel], waiting: int, together: int) -> None:
        self._lms = lms
        self._engines = {
            name: Engine(lm.model, lm.stop_ids, together, _budget(lm, together), KEPT, lm.table, lm.speculation)
            for name, lm in lms.items()
        }
        self._places = threading.BoundedSemaphore(waiting + together)
        self._numbers = itertools.count()
        self._rows: dict[int, tuple[_Job, int]] = {}
        self._inbox = _Works()
        # To render a conversation may take a while, to compile a schema a long one that nothing can end: those that are
        # answered do not wait for either, conversations not for schemas, and the end of the process for none.
        self._prompts, self._forms = _Works(), _Works()
        self._ending = False
        for works in (self._prompts, self._forms):
            threading.Thread(target=_do, args=[works], name="read", daemon=True).start()
        threading.Thread(target=self._work, name="generate", daemon=True).start()

    async def one_token(self, name: str, seconds: float) -> None:
        """Return if the thread makes a token by this model in time. Raises as `run`."""

        async def never() -> bool:
            return False

        start = [self._lms[name].tokenizer.start_id]
        async for _ in self.run(name, lambda: [start], Sampling(max_tokens=1), 1, seconds, never):
            pass

    async def run(
        self,
        name: str,
        read: Callable[[], Sequence[Sequence[int]]],
        sampling: Sampling,
        choices: int,
        seconds: float,
        gone: Callable[[], Awaitable[bool]],
        salt: str = "",
        shown: Collection[int] = (),
        scored: int | None = None,
    ) -> AsyncIterator[int | Piece]:
        """First the number of prompt tokens, then the pieces of all choices as they are made, of the first prompt
        `choices` rows, then of the second as many. Close it (aclosing) to stop the work.

        read: makes the ids of the prompts. salt: what others with the same may share is what was read, nothing else.
        shown: control tokens whose names are to be part of the text. scored: each piece has what the model says of the
        prompt's tokens, and so many of the likeliest at each place.
        Raises BusyError, DeadlineError after `seconds`, ClientGoneError once `gone()`, EndingError after `close`, or
        what went wrong.
        """
        if not self._places.acquire(blocking=False):
            raise BusyError
        loop, items, end = asyncio.get_running_loop(), asyncio.Queue[Any](), time.monotonic() + seconds

        def put(item: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the server has ended: nobody listens
                loop.call_soon_threadsafe(items.put_nowait, item)

        lm = self._lms[name]
        decode = lm.tokenizer.decode if not shown else partial(lm.tokenizer.decode_showing, frozenset(shown))
        pieces = partial(Pieces, decode, lm.tokenizer.token_bytes, lm.stop_ids, sampling)
        job = _Job(name, sampling, choices, salt, put, pieces, scored)
        (self._prompts if sampling.constraint is None else self._forms).put(partial(self._read, job, read))
        next_look = 0.0
        try:
            while True:
                now = time.monotonic()
                if self._ending:
                    raise EndingError
                if now >= end:
                    raise DeadlineError
                if now >= next_look:
                    if await gone():
                        raise ClientGoneError
                    next_look = now + LOOK_UP
                try:
                    item = await asyncio.wait_for(items.get(), min(LOOK_UP, end - now))
                except TimeoutError:
                    continue
                if isinstance(item, _End):
                    if item.error is not None:
                        raise item.error
                    return
                yield item
        finally:
            job.unwanted = True
            self._inbox.put(lambda: self._end(job, None))

    def close(self) -> None:
        """End what runs and forget what waits."""
        self._ending = True
        for works in (self._inbox, self._prompts, self._forms):
            works.put(None)

    def _read(self, job: _Job, read: Callable[[], Sequence[Sequence[int]]]) -> None:
        error: Exception | None = None
        if not job.unwanted:
            try:
                job.begin(read(), self._engines[job.name])
            except Exception as raised:  # whatever it is, it is the request's and not the thread's
                error = raised
        if error is not None or job.unwanted:
            self._inbox.put(lambda: self._end(job, error))
        else:
            self._inbox.put(lambda: self._begin(job))

    # -- what follows runs on the thread that decodes

    def _work(self) -> None:
        while True:
            try:
                command = self._inbox.get(block=not any(engine.busy for engine in self._engines.values()))
            except queue.Empty:
                for name, engine in self._engines.items():
                    if engine.busy:
                        self._step(name, engine)
                continue
            if command is None:
                for job in {id(job): job for job, _ in self._rows.values()}.values():
                    self._end(job, EndingError())
                return
            try:
                command()
            except Exception:  # one request's; this thread is everyone's
                logger.exception("a request could not be taken or left")

    def _begin(self, job: _Job) -> None:
        if job.unwanted:
            self._end(job, None)
            return
        rows = [next(self._numbers) for _ in job.choosers]
        asked = [(row, job.choosers[number], number) for number, row in enumerate(rows)]
        try:
            for at, prompt in enumerate(job.prompts):
                theirs = asked[at * job.choices : (at + 1) * job.choices]
                scores = None if job.scored is None else PromptScores(job.scored)
                job.answers += self._engines[job.name].add(prompt, theirs, job.salt, scores)
        except Exception as error:
            self._end(job, error)
            return
        self._rows |= {row: (job, number) for number, row in enumerate(rows)}

    def _step(self, name: str, engine: Engine) -> None:
        try:
            made = engine.step()
        except Exception as error:
            engine.close()
            for job in {id(job): job for job, _ in self._rows.values() if job.name == name}.values():
                self._end(job, error)
            return
        for token in made:
            if token.row not in self._rows:
                continue
            job, number = self._rows[token.row]
            if isinstance(token, Failure):
                self._end(job, token.error)
                continue
            answer = job.answers[number]
            piece = job.pieces.take(number, token, answer.kept, answer.scores.made if answer.scores else ())
            job.put(piece)
            if piece.stop_reason is not None:
                del self._rows[token.row]
                engine.cancel(job.answers[number])
                job.left -= 1
                if not job.left:
                    self._end(job, None)

    def _end(self, job: _Job, error: Exception | None) -> None:
        """Everything of a request leaves; its place is free when the work has ended, not when its client has."""
        if job.ended:
            return
        job.ended = True
        for answer in job.answers:
            self._engines[job.name].cancel(answer)
            self._rows.pop(answer.row, None)
        job.put(_End(error))
        self._places.release()


class _Job:
    """A request on its way through the worker."""

    def __init__(
        self,
        name: str,
        sampling: Sampling,
        choices: int,
        salt: str,
        put: Callable[[Any], None],
        pieces: Callable[[int], Pieces],
        scored: int | None,
    ) -> None:
        """choices: answers to each prompt. pieces: makes those of so many rows."""
        self.name, self.sampling, self.choices, self.salt = name, sampling, choices, salt
        self.put, self._pieces, self.scored, self.left = put, pieces, scored, 0
        self.prompts: Sequence[Sequence[int]] = ()
        self.choosers: list[Chooser] = []
        self.answers: list[Answer] = []
        self.unwanted = self.ended = False

    def begin(self, prompts: Sequence[Sequence[int]], engine: Engine) -> None:
        """The prompts are read. What row i draws depends on the seed and on i, as in `LanguageModel.generate`."""
        self.prompts, self.left = prompts, len(prompts) * self.choices
        self.pieces = self._pieces(self.left)
        self.choosers = [
            engine.chooser(prompt, self.sampling, at * self.choices + number)
            for at, prompt in enumerate(prompts)
            for number in range(self.choices)
        ]
        self.put(sum(map(len, prompts)))


class _End:
    def __init__(self, error: Exception | None) -> None:
        self.error = error


def _do(works: _Works) -> None:
    """One after another, until there is None."""
    while (work := works.get()) is not None:
        work()


def _budget(lm: LanguageModel, together: int) -> int:
    """Positions of all answers together that the memory of this machine allows."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _SHARE
    return max(lm.context, min(together * lm.context, memory // bytes_per_token(lm.config, lm.model.activations)))
