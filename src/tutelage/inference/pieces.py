"""Incremental detokenisation of several answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from tutelage.inference.results import Generation
from tutelage.inference.sampling import Sampling
from tutelage.inference.scoring import TokenScore
from tutelage.inference.sequences import StopReason, Token
from tutelage.inference.text import TextStream


@dataclass(frozen=True)
class Piece:
    """One token of row `row` and the text that it completes. The last one of a row has a stop reason.

    `complete`: no text is held back. `kept`: see `Answer`. `prompt`: scores of
    the prompt's tokens, if they were asked for.
    """

    row: int
    text: str
    id: int
    logprob: float
    stop_reason: StopReason | None
    complete: bool
    top: tuple[tuple[int, float], ...] = ()
    kept: int = 0
    prompt: Sequence[TokenScore] = ()


class Pieces:
    """Converts tokens of several answers to pieces of text."""

    def __init__(
        self,
        decode: Callable[[list[int]], str],
        spell: Callable[[int], bytes],
        stop_ids: Sequence[int],
        sampling: Sampling,
        rows: int,
    ) -> None:
        """decode: ids to text; spell: the bytes of one id. stop_ids: the model's stop tokens."""
        self._stop_ids = {*stop_ids, *sampling.stop_ids}
        self._texts = [TextStream(decode, spell, sampling.stop) for _ in range(rows)]

    def take(self, row: int, token: Token, kept: int = 0, prompt: Sequence[TokenScore] = ()) -> Piece:
        """The piece for a token of a row. A stop string ends the row; later tokens are dropped."""
        text, reason = self._texts[row], token.stop_reason
        piece = "" if token.id in self._stop_ids else text.feed(token.id)
        if reason is not None:
            piece += text.close(cut=reason == "length")
        if text.stopped:
            reason = "stop"
        return Piece(row, piece, token.id, token.logprob, reason, not text.holds, token.top, kept, prompt)


def collected(pieces: Iterable[Piece], rows: int, with_top: bool) -> list[Generation]:
    """The complete answer of each row, from interleaved pieces. with_top: keep the top tokens."""
    texts: list[list[str]] = [[] for _ in range(rows)]
    reasons: list[StopReason] = ["length"] * rows
    made = [Generation("") for _ in range(rows)]
    for piece in pieces:
        texts[piece.row].append(piece.text)
        reasons[piece.row] = piece.stop_reason or "length"
        made[piece.row].ids.append(piece.id)
        made[piece.row].logprobs.append(piece.logprob)
        if with_top:
            made[piece.row].top.append(piece.top)
    return [
        replace(one, text="".join(text), stop_reason=reason)
        for one, text, reason in zip(made, texts, reasons, strict=True)
    ]
