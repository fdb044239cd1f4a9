"""Encode texts by the rules of lm-evaluation-harness 0.4.13, so that scores agree item by item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tutelage.evaluation.bench.protocol import Pair
from tutelage.store.errors import InputError


@dataclass(frozen=True)
class Encoded:
    """Context ids and continuation ids to score; cut: number of context ids truncated on the left."""

    context: list[int]
    continuation: list[int]
    cut: int = 0


@dataclass(frozen=True)
class Rules:
    """encode: the tokenizer's default encoding, with a start token if its own rule adds one. plain: without special
    tokens. prefix: id used for an empty context (the begin-of-text token if defined, else the end-of-text token).
    context: the model's context length in tokens.
    """

    encode: Callable[[str], list[int]]
    plain: Callable[[str], list[int]]
    prefix: int
    context: int

    def pair(self, pair: Pair) -> Encoded:
        """Ids of a pair: trailing white space of the context moves to the continuation; both are encoded as one text,
        which is split at the length of the encoded context. Raises InputError if nothing is left to score."""
        context, continuation = pair.context, pair.continuation
        if context == "":
            after = self.plain(continuation)
            before = [self.prefix]
            if after[:1] == before:
                before, after = after[:1], after[1:]
        else:
            kept = context.rstrip()
            continuation = context[len(kept) :] + continuation
            before = self.encode(kept)
            after = self.encode(kept + continuation)[len(before) :]
            if not before:  # only white space, from a tokenizer that adds no start token
                before = [self.prefix]
        if not after:
            raise InputError(
                f"no token of {_shown(pair.continuation)} is left to score: the tokenizer merges it into its "
                f"context {_shown(pair.context[-40:])}"
            )
        return self.fitted(before, after)

    def fitted(self, before: list[int], after: list[int]) -> Encoded:
        """Truncate on the left to the model's context. Raises InputError if the continuation alone is too long."""
        if len(after) > self.context:
            raise InputError(
                f"a continuation has {len(after)} tokens, but the model's context is {self.context}",
                hint="use a model with a longer context for this task",
            )
        cut = max(0, len(before) + len(after) - (self.context + 1))
        return Encoded(before[cut:], after, cut)

    def windows(self, text: str, overlap: bool) -> list[tuple[list[int], list[int]]]:
        """(context ids, ids to score) per window of a text; every id is scored once, the first after the prefix token.

        overlap: each further window has at least half a context before the ids it scores; else a single id, as in
        lm-evaluation-harness.
        """
        ids = self.encode(text)
        if ids[:1] == [self.prefix]:
            ids = ids[1:]  # the tokenizer added the prefix; scoring it after itself is meaningless
        return token_windows(ids, self.prefix, self.context, overlap)


def token_windows(ids: Sequence[int], prefix: int, context: int, overlap: bool) -> list[tuple[list[int], list[int]]]:
    """See `Rules.windows`."""
    if not ids:
        return []
    stream = [prefix, *ids]
    end = min(context, len(ids))
    found = [(stream[:1], stream[1 : end + 1])]
    step = max(1, context // 2) if overlap else context
    while end < len(ids):
        new = min(end + step, len(ids))
        found.append((stream[max(new - context, 0) : end + 1], stream[end + 1 : new + 1]))
        end = new
    return found


def _shown(text: str) -> str:
    return repr(text if len(text) < 60 else text[:57] + "...")
