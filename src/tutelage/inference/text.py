"""From ids to text as they come: never a broken character, never a piece of a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence

BROKEN = "\ufffd"  # what stands for bytes that are no UTF-8, such as the first half of a character


class TextStream:
    """Text of one growing answer. The pieces that `feed` and `close` return, joined, are the whole text.

    decode: ids to text; spell: the bytes of one. stops: strings at which the text ends; `stopped` is True once one has
    been met, and text that may turn out to begin one is held back until it is known.
    """

    def __init__(
        self, decode: Callable[[list[int]], str], spell: Callable[[int], bytes], stops: Sequence[str] = ()
    ) -> None:
        self._decode, self._spell, self._stops = decode, spell, tuple(stops)
        self._ids: list[int] = []
        self._context = 0  # ids from here on are decoded together: a decoder may treat the first id specially
        self._done = 0  # ids before this one have become text
        self._held = ""
        self.stopped = False

    def feed(self, token_id: int) -> str:
        """Take one id; return the text that is now certain, which may be empty."""
        self._ids.append(token_id)
        if self.stopped:
            return ""
        new = self._new_text()
        if new.endswith(BROKEN):
            return ""
        self._context, self._done = self._done, len(self._ids)
        return self._release(new)

    def close(self, cut: bool = False) -> str:
        """No id follows: return what was held back. cut: the text did not end but was cut off, so that the bytes that
        begin a character at its end are no text; else they are U+FFFD, as any bytes that are no UTF-8."""
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
        """Whether text or bytes are being held back."""
        return bool(self._held) or self._done < len(self._ids)

    def _unfinished(self) -> bool:
        """Whether the bytes so far end within a character."""
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
    """Length of the longest end of `text` that begins `stop` and is not all of it."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
