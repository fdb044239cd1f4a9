"""Streaming detokenisation without partial characters or partial stop strings."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence

BROKEN = "\ufffd"  # replacement for invalid UTF-8, such as part of a character


class TextStream:
    """Text of one growing answer. The joined return values of `feed` and `close` are the full text.

    decode: ids to text; spell: the bytes of one. stops: strings that end the text; `stopped` is True after one is
    found, and text that may be the beginning of one is held back.
    """

    def __init__(
        self, decode: Callable[[list[int]], str], spell: Callable[[int], bytes], stops: Sequence[str] = ()
    ) -> None:
        self._decode, self._spell, self._stops = decode, spell, tuple(stops)
        self._ids: list[int] = []
        self._context = 0  # decode from this id on, because a decoder may treat the first id specially
        self._done = 0  # ids before this one are emitted
        self._held = ""
        self.stopped = False

    def feed(self, token_id: int) -> str:
        """Add one id; return the text that is now certain, possibly empty."""
        self._ids.append(token_id)
        if self.stopped:
            return ""
        new = self._new_text()
        if new.endswith(BROKEN):
            return ""
        self._context, self._done = self._done, len(self._ids)
        return self._release(new)

    def close(self, cut: bool = False) -> str:
        """End the text and return what was held back. cut: the text was truncated, so an incomplete character at its
        end is dropped; otherwise it becomes U+FFFD, like any invalid UTF-8."""
        if self.stopped:
            return ""
        new = self._new_text()
        if cut and new.endswith(BROKEN) and self._unfinished():
            new = new.rstrip(BROKEN)
        piece = self._release(new)
        self._context, self._done = self._done, len(self._ids)
        rest, self._held = self._held, ""
        return piece + rest

    @property
    def holds(self) -> bool:
        """Whether text or bytes are held back."""
        return bool(self._held) or self._done < len(self._ids)

    def _unfinished(self) -> bool:
        """Whether the bytes so far end inside a character."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        decoder.decode(b"".join(map(self._spell, self._ids[self._done :])))
        return bool(decoder.getstate()[0])

    def _new_text(self) -> str:
        before = self._decode(self._ids[self._context : self._done])
        return self._decode(self._ids[self._context :])[len(before) :]

    def _release(self, new: str) -> str:
        text = self._held + new
        found = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        keep = max((overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def overlap(text: str, stop: str) -> int:
    """Length of the longest suffix of `text` that is a proper prefix of `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
