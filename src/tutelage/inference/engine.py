"""The engine: continuous batching of sequences, each with its own sampling; ids in, ids out."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tutelage.inference.choosing import Chooser, Chosen, TokenTable, choose
from tutelage.inference.prefill import check_prompt, chunk_length, untracked
from tutelage.inference.sampling import Sampling
from tutelage.inference.scoring import scores_of
from tutelage.inference.sequences import Answer, Asked, Failure, PromptScores, StopReason, Token
from tutelage.inference.slots import STEP, Slots
from tutelage.inference.speculation import ROWS, Speculation, cannot
from tutelage.model.cache import KVCache, Sharing
from tutelage.model.decoder import DecoderLM
from tutelage.model.lean import LeanDecoder, is_plain
from tutelage.model.pack import is_packed
from tutelage.store.errors import ConfigError, InputError

TOKEN_BUDGET = 32768  # total positions of all sequences: bounds memory, does not affect results
MOST_ROWS = 256  # sequences decoded together


class Engine:
    """A scheduler over sequences with chunked prefill: prompts are read in chunks between decoding steps.

    The output of a sequence depends only on its prompt, sampling and seed, not on the rest of the batch: rows are
    batch-invariant (bit for bit if the processor's matrix products are, which holds for 4-bit, 8-bit and bfloat16
    ones), and prefill chunks always end at the same positions.
    """

    def __init__(
        self,
        model: DecoderLM,
        stop_ids: Sequence[int],
        most_rows: int = MOST_ROWS,
        token_budget: int = TOKEN_BUDGET,
        keep: int = 0,
        table: TokenTable | None = None,
        speculation: Speculation | None = None,
    ) -> None:
        """keep: number of prompts kept as a prefix cache, for prompts with the same beginning and salt. table:
        vocabulary data; requires a tokenizer for constraints. speculation: source of drafts, which affect only the
        speed; raises ConfigError for a model whose state cannot be rolled back (`cannot`)."""
        if speculation is not None and (reason := cannot(model.config)) is not None:
            raise ConfigError(f"this model does not support speculation: {reason}", hint="leave it out")
        self.speculation = speculation
        self.model, self.stop_ids, self.token_budget, self.keep = model, frozenset(stop_ids), token_budget, keep
        self.most_rows, self.table = most_rows, table or TokenTable(model.config.vocab_size, stop_ids)
        self.context = model.config.max_position_embeddings
        weight = model.embed_tokens.weight
        # On a CPU, float32 products of fewer than four rows use another order of summation.
        self._multiple = 4 if weight.device.type == "cpu" and not is_packed(model) and weight.dtype.itemsize == 4 else 1
        self._lean = LeanDecoder(model) if is_plain(model) else None
        self._slots = Slots(model, self._multiple - 1)
        self._piece = chunk_length(model)
        self._waiting: deque[Asked] = deque()
        self._reading: Asked | None = None
        self._answering: list[Answer] = []
        self._last_view: tuple[int, int, Any, KVCache] | None = None

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._reading or self._answering)

    def chooser(self, prompt: Sequence[int], sampling: Sampling, number: int) -> Chooser:
        """The sampling state of one answer; create it in advance if a constraint takes long to compile."""
        return Chooser(sampling, prompt, self.table, number)

    def add(
        self,
        prompt: Sequence[int],
        asked: Sequence[tuple[int, Sampling | Chooser, int]],
        salt: str = "",
        scores: PromptScores | None = None,
    ) -> list[Answer]:
        """Submit one prompt with a list of answers: (row id of its tokens, sampling, index in the call, which is part
        of the random seed). scores: filled with what the model says of the prompt's own tokens. Raises InputError for a
        prompt that is empty or too long, ConfigError for settings that are invalid for this vocabulary.
        """
        check_prompt(prompt, self.context, self.model.config.vocab_size)
        made = []
        for row, settings, number in asked:
            chooser = self.chooser(prompt, settings, number) if isinstance(settings, Sampling) else settings
            stop_ids = self.stop_ids.union(chooser.sampling.stop_ids)
            limit = min(len(prompt) + chooser.sampling.max_tokens, self.context)
            drafting = None if self.speculation is None else self.speculation.of(prompt)
            made.append(Answer(row, chooser, stop_ids, len(prompt), limit, drafting=drafting, scores=scores))
        at_once = self._fitting(max(one.limit for one in made))
        for begin in range(0, len(made), at_once):
            self._waiting.append(Asked(prompt, made[begin : begin + at_once], salt, scores))
        return made

    def step(self) -> list[Token | Failure]:
        """One iteration: prefill chunks of waiting prompts, up to the prefill budget, then one token for every running
        answer, or several if drafts are accepted."""
        with untracked(self.model):
            self._sweep()
            made: list[Token | Failure] = []
            left = self._piece
            while left > 0 and (asked := self._next()) is not None:
                try:
                    left -= self._read(asked)
                except InputError as error:
                    made += self._fail(asked, error)
                    continue
                if asked.done == len(asked.prompt):
                    made += self._begin(asked)
            return made + self._advance()

    def cancel(self, sequence: Answer) -> None:
        """Cancel a row. Its cache is freed at the next step."""
        sequence.ended = True

    def close(self) -> None:
        """Drop all sequences and free the memory."""
        self._waiting.clear()
        self._reading, self._answering = None, []
        self._slots = Slots(self.model, self._multiple - 1)

    def _fitting(self, length: int) -> int:
        """Maximum number of concurrent sequences of that length."""
        return max(1, min(self.most_rows, self.token_budget // length))

    def _sweep(self) -> None:
        """Remove cancelled sequences."""
        for asked in [*self._waiting, *([self._reading] if self._reading else [])]:
            asked.answers = [one for one in asked.answers if not one.ended]
        self._waiting = deque(asked for asked in self._waiting if asked.answers)
        if self._reading is not None and not self._reading.answers:
            self._reading = None
            self._slots.stop_reading()
        for one in [one for one in self._answering if one.ended]:
            self._leave(one)
        if not self.busy:
            self._slots.forget(self.keep)

    def _next(self) -> Asked | None:
        """The prompt to prefill next, if there is one and there is room for its answers."""
        if self._reading is not None:
            self._make_way(self._reading)
        if self._reading is None and self._waiting:
            asked = self._waiting[0]
            longest = max(one.limit for one in [*self._answering, *asked.answers])
            fitting = self._fitting(longest)
            if self._answering and len(self._answering) + len(asked.answers) > fitting:
                return None
            taken = len(self._answering) + len(asked.answers)
            kept = min(self.keep, max(0, fitting - taken))
            self._slots.forget(kept)
            rows = taken + self._multiple + kept
            self._slots.trim(rows, longest)
            # What is cached has no scores: it is read again where these are wanted.
            shared = None if asked.scores is None else len(asked.scores.made)
            asked.place, asked.done = self._slots.read(asked.prompt, asked.salt, rows, shared)
            if not asked.parked:
                for one in asked.answers:
                    one.kept = asked.done
            self._reading = self._waiting.popleft()
        return self._reading

    def _make_way(self, reading: Asked) -> None:
        """Let one short prompt overtake a long prefill after each chunk. The long one continues where it stopped; if
        its cache was evicted meanwhile, it no longer yields."""
        left, short = len(reading.prompt) - reading.done, min(self._waiting, key=_length, default=None)
        if short is None or len(short.prompt) > self._piece or left <= self._piece or reading.done <= reading.parked:
            return
        together = [*self._answering, *short.answers, *reading.answers]
        kept = min(self.keep, self._fitting(max(one.limit for one in together)) - len(together))
        if kept < 1 or not self._slots.can_share:
            return
        self._slots.park(reading.prompt[: reading.done], reading.salt)
        reading.parked, self._reading = reading.done, None
        self._waiting.remove(short)
        self._waiting.extendleft([reading, short])

    def _read(self, asked: Asked) -> int:
        """Prefill one chunk of a prompt; returns its number of tokens."""
        device, start = self._slots.cache.device, asked.done
        end = min(len(asked.prompt), (start // self._piece + 1) * self._piece)
        # The full range that a chunk may attend to, so that kernels use the same order of summation.
        seen = min(-(-end // self._piece) * self._piece, -(-self.context // STEP) * STEP)
        self._slots.reserve(seen)
        view = self._slots.cache.view(asked.place, 1, seen, start)
        tokens = torch.tensor([asked.prompt[start:end]], device=device)
        positions = torch.arange(start, end, device=device)[None]
        hidden = self.model.hidden(tokens, positions, cache=view)
        self._last, asked.done = hidden[:, -1], end
        if asked.scores is not None and (first := len(asked.scores.made)) < end:
            targets = asked.prompt[first + 1 : end + 1]
            asked.scores.made += scores_of(self.model, hidden[0, first - start :], targets, asked.scores.top)
        return end - start

    def _fail(self, asked: Asked, error: InputError) -> list[Token | Failure]:
        """The prompt being prefilled has no valid scores: its answers end."""
        self._slots.stop_reading()
        self._reading = None
        for one in asked.answers:
            one.ended = True
        return [Failure(one.row, error) for one in asked.answers]

    def _begin(self, asked: Asked) -> list[Token | Failure]:
        """Prefill is complete: choose the first token of each answer."""
        self._slots.start(asked.prompt, asked.salt, len(asked.answers))
        self._slots.forget(self.keep)
        self._reading = None
        self._answering += asked.answers
        logits = self.model.logits(self._padded(self._last)).cpu()[:1]
        return self._say(asked.answers, logits.expand(len(asked.answers), -1))

    def _advance(self) -> list[Token | Failure]:
        """One token for each running answer, plus one for each accepted draft."""
        rows = list(self._answering)
        if not rows:
            return []
        device, drafts = self._slots.cache.device, self._drafts(rows)
        last = [one.length - 1 for one in rows]  # cache position of the last token
        tokens = [token for one, draft in zip(rows, drafts, strict=True) for token in (one.last, *draft)]
        places = [at + step for at, draft in zip(last, drafts, strict=True) for step in range(len(draft) + 1)]
        count, padding = len(tokens), -len(tokens) % self._multiple
        seen = -(-(max(places) + 1) // STEP) * STEP
        self._slots.reserve(seen)
        if count == len(rows):
            view = self._view(count + padding, seen)
            view.start, view.sharing = last[0] if count + padding == 1 else None, None
        else:  # each draft token is a batch row of its own, in the same cache row
            counts = [len(draft) + 1 for draft in drafts] + [padding] * (padding > 0)
            view = self._view(len(counts), seen)
            view.start, view.sharing = None, Sharing.of(counts, device)
        ids = torch.tensor([*tokens, *[0] * padding], device=device)[:, None]
        positions = torch.tensor([*places, *[0] * padding], device=device)[:, None]
        if self._lean is not None:
            logits = self._lean.logits(ids, positions, view)
        else:
            logits = self.model.logits(self.model.hidden(ids, positions, cache=view)[:, -1]).cpu()
        return self._say(rows, logits[:count], drafts)

    def _drafts(self, rows: list[Answer]) -> list[list[int]]:
        """Draft tokens of each row, limited in total to what is worth verifying at once."""
        most = max(0, ROWS.get(self._slots.cache.device.type, 0) - len(rows)) // len(rows)
        return [
            [] if one.drafting is None else one.drafting.draft(min(most, one.limit - one.length - 1)) for one in rows
        ]

    def _view(self, rows: int, seen: int) -> KVCache:
        """A view of the first rows and positions of the cache; the same object while these do not change."""
        grown = self._slots.cache.grown
        if self._last_view is None or self._last_view[:2] != (rows, seen) or self._last_view[2] is not grown:
            self._last_view = (rows, seen, grown, self._slots.cache.view(0, rows, seen))
        return self._last_view[3]

    def _say(
        self, rows: list[Answer], logits: Tensor, drafts: Sequence[Sequence[int]] | None = None
    ) -> list[Token | Failure]:
        """Choose the next token of each row from its logits [rows, V] and remove finished rows.

        drafts: draft tokens of each row, with their own logits; while the choice equals the draft, the next choice
        follows immediately.
        """
        drafts = drafts or [()] * len(rows)
        first = [0, *itertools.accumulate(len(draft) + 1 for draft in drafts)]  # row of the logits
        made: list[Token | Failure] = []
        agreed = [0] * len(rows)
        going, step = list(range(len(rows))), 0
        while going:
            theirs = logits if len(going) == len(logits) else logits[[first[at] + step for at in going]]
            made += self._say_one([rows[at] for at in going], theirs)
            going = [at for at in going if rows[at].last in drafts[at][step : step + 1] and not rows[at].ended]
            step += 1
            for at in going:
                agreed[at] = step
        for one, draft, right in zip(rows, drafts, agreed, strict=True):
            if one.drafting is not None and draft:
                one.drafting.judged(len(draft), right)
            if one.ended:
                self._leave(one)
        return made

    def _say_one(self, rows: list[Answer], logits: Tensor) -> list[Token | Failure]:
        """Choose one token per row from logits [rows, V]."""
        made: list[Token | Failure] = []
        for one, chosen in zip(rows, _choose(rows, logits), strict=True):
            if isinstance(chosen, InputError):
                one.ended = True
                made.append(Failure(one.row, chosen))
                continue
            one.last = chosen.id
            one.length += 1
            if one.drafting is not None:
                one.drafting.take(chosen.id)
            reason: StopReason | None = None
            if chosen.id in one.stop_ids:
                reason = "stop"
            elif one.length >= one.limit:
                reason = "length"
            one.ended = reason is not None
            made.append(Token(one.row, chosen.id, chosen.logprob, reason, chosen.top))
        return made

    def _leave(self, one: Answer) -> None:
        """Remove a finished row; the last one takes its place."""
        place, last = self._answering.index(one), self._answering[-1]
        self._slots.finish(place, last.length)
        self._answering[place] = last
        self._answering.pop()

    def _padded(self, hidden: Tensor) -> Tensor:
        missing = -len(hidden) % self._multiple
        return torch.cat([hidden, hidden.new_zeros(missing, hidden.shape[1])]) if missing else hidden


def _length(asked: Asked) -> int:
    return len(asked.prompt)


def _choose(rows: Sequence[Answer], logits: Tensor) -> list[Chosen | InputError]:
    """The next token of each row. Non-finite logits end only their own row."""
    try:
        return list(choose(logits, [one.chooser for one in rows]))
    except InputError as error:
        if len(rows) == 1:
            return [error]
    return [made for at, one in enumerate(rows) for made in _choose([one], logits[at : at + 1])]
