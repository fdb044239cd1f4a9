"""Allocation of cache rows: running sequences, the prompt being prefilled, and the prefix cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tutelage.model.cache import KVCache
from tutelage.model.decoder import DecoderLM

STEP = 64  # positions by which the cache grows, and to which the attended range is rounded up
REREAD = 32  # prompt tokens that are always recomputed: smaller chunks would use other kernels


@dataclass
class Kept:
    """A cached prompt whose keys and values are in row `row`. `salt`: only requests with the same salt may reuse it."""

    row: int
    ids: Sequence[int]
    salt: str
    used: int


class Slots:
    """Rows 0 to `answering - 1` are decoded together; a step may overwrite the `spare` rows after them.

    A prompt is prefilled in a row at the other end, which caches it until the row is required.
    """

    def __init__(self, model: DecoderLM, spare: int) -> None:
        self._model, self._spare, self._clock = model, spare, 0
        self._cache: KVCache | None = None
        self._reading: int | None = None
        self.kept: list[Kept] = []
        self.width = self.answering = 0
        # A recurrent state cannot be truncated to a prefix.
        self.can_share = model.config.delta is None

    @property
    def cache(self) -> KVCache:
        assert self._cache is not None
        return self._cache

    def reserve(self, length: int) -> None:
        """Ensure this many positions in every row."""
        have = 0 if self._cache is None else self._cache.length
        if length <= have:
            return
        whole = -(-self._model.config.max_position_embeddings // STEP) * STEP
        wanted = min(max(-(-length // STEP) * STEP, have + have // 2 // STEP * STEP), whole)
        if self._cache is None:
            weight = self._model.embed_tokens.weight
            self._cache = KVCache.empty(self._model.config, 0, wanted, self._model.activations, weight.device)
        else:
            self._cache.grow(wanted - have)

    def trim(self, rows: int, length: int) -> None:
        """Shrink to at most `rows` rows before a longer text extends every row."""
        if self._cache is None or self.width <= rows or length <= self._cache.length:
            return
        assert self._reading is None
        ends = [one.row for one in self.kept]
        free = self._free()[: rows - self.answering - len(ends)]
        order = [*range(self.answering), *free, *ends]
        self._cache.select(torch.tensor(order, device=self._cache.device))
        self.width = len(order)
        for one in self.kept:
            one.row = order.index(one.row)

    def read(self, ids: Sequence[int], salt: str, most: int, shared: int | None = None) -> tuple[int, int]:
        """The row for prefilling a prompt, and how many of its tokens, at most `shared`, are already cached there.

        With `most` rows in total, the least recently used cached prompt is evicted. One prompt is prefilled at a time.
        """
        assert self._reading is None
        self.reserve(len(ids))
        lowest = self.answering + self._spare
        free = [row for row in self._free() if row >= lowest]
        if not free and (self.width < most or not any(one.row >= lowest for one in self.kept)):
            self._widen(max(1, min(self.width, most - self.width), lowest + 1 - self.width))
            free = [row for row in self._free() if row >= lowest]
        if not free:
            oldest = min((one for one in self.kept if one.row >= lowest), key=lambda one: one.used)
            self.kept.remove(oldest)
            free = [oldest.row]
        row = self._reading = max(free)
        self.cache.clear_states(row)
        return row, self._share(ids, salt, row, len(ids) if shared is None else shared)

    def start(self, ids: Sequence[int], salt: str, count: int) -> None:
        """After prefill: allocate `count` rows for answers. The prompt's own row caches it if there is room."""
        assert self._reading is not None
        source, self._reading = self._reading, None
        self._widen(self.answering + count + self._spare - self.width)
        for target in range(self.answering, self.answering + count):
            self.kept = [one for one in self.kept if one.row != target]
            if target != source:
                self.cache.copy_row(source, target, len(ids))
        self.answering += count
        if self.can_share and source >= self.answering:
            self._clock += 1
            self.kept = [one for one in self.kept if not _begins(ids, one, salt)]
            self.kept.append(Kept(source, ids, salt, self._clock))

    def park(self, ids: Sequence[int], salt: str) -> None:
        """Suspend a prefill for another prompt; the part read so far stays cached."""
        assert self._reading is not None
        self._clock += 1
        self.kept.append(Kept(self._reading, ids, salt, self._clock))
        self._reading = None

    def stop_reading(self) -> None:
        """Cancel the prefill."""
        self._reading = None

    def finish(self, row: int, length: int) -> None:
        """Free a finished row; the last running row, of this many tokens, moves into its place."""
        last = self.answering - 1
        if row != last:
            self.cache.copy_row(last, row, length)
        self.answering -= 1

    def forget(self, count: int) -> None:
        """Keep at most the `count` most recently used prompts; free the memory if no row is in use."""
        self.kept = sorted(self.kept, key=lambda one: -one.used)[: max(0, count)]
        if not self.kept and not self.answering and self._reading is None:
            self._cache, self.width = None, 0

    def _share(self, ids: Sequence[int], salt: str, row: int, most: int) -> int:
        best, common = None, 0
        for one in self.kept:
            alike = _common(ids, one.ids) if one.salt == salt else 0
            if alike > common:
                best, common = one, alike
        common = min(common, len(ids) - REREAD, most) // REREAD * REREAD
        if best is None or common <= 0:
            return 0
        self._clock += 1
        best.used = self._clock
        self.cache.copy_row(best.row, row, common)
        return common

    def _free(self) -> list[int]:
        kept = {one.row for one in self.kept}
        return [row for row in range(self.answering, self.width) if row not in kept]

    def _widen(self, more: int) -> None:
        if more > 0:
            self.cache.widen(more)
            self.width += more


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common prefix."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


def _begins(ids: Sequence[int], kept: Kept, salt: str) -> bool:
    """Whether the cached prompt is a prefix of `ids`."""
    return kept.salt == salt and len(kept.ids) <= len(ids) and _common(ids, kept.ids) == len(kept.ids)
