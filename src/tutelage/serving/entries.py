"""Tokens with their log-probabilities in the shape of the API: of a prompt that is echoed, and of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tutelage.inference.language_model import LanguageModel
from tutelage.inference.scoring import TokenScore
from tutelage.inference.text import TextStream


@dataclass(eq=False)
class Prompted:
    """What stands before an answer that echoes its prompt. `begun`: the first id begins a document, which is read
    before a text but is no part of it. `entries`: its tokens with their log-probabilities, once these are known."""

    text: str
    ids: Sequence[int]
    begun: bool
    entries: list[dict[str, Any]] | None = None


def prompt_entries(lm: LanguageModel, prompted: Prompted, scores: Sequence[TokenScore]) -> list[dict[str, Any]]:
    """The tokens of a prompt. scores: of all its ids but the first."""
    # The first token of a text has a probability, given what begins a document, but as in OpenAI's API none is told.
    shown, told = (prompted.ids[1:], scores[1:]) if prompted.begun else (prompted.ids, scores)
    starts = _starts(lm, shown, len(prompted.text))
    entries = [token_entry(lm, shown[0], None, (), starts[0])] if shown else []
    for token, score, start in zip(shown[1:], told, starts[1:], strict=True):
        entries.append(token_entry(lm, token, score.logprob, score.top, start))
    return entries


def token_entry(
    lm: LanguageModel, token_id: int, logprob: float | None, top: Sequence[tuple[int, float]], start: int
) -> dict[str, Any]:
    """A token with its log-probability (None: there is none), the likeliest ones at its place, and where its text
    begins."""
    alternatives = [_token(lm, *one) for one in top]
    return {**_token(lm, token_id, logprob), "top_logprobs": alternatives, "text_offset": start}


def _token(lm: LanguageModel, token_id: int, logprob: float | None) -> dict[str, Any]:
    shown = lm.tokenizer.decode([token_id], skip_special=False)
    # JSON knows no infinity: OpenAI's figure for what cannot come.
    known = None if logprob is None else max(logprob, -9999.0)
    return {"token": shown, "logprob": known, "bytes": list(lm.tokenizer.token_bytes(token_id))}


def _starts(lm: LanguageModel, ids: Sequence[int], length: int) -> list[int]:
    """Where in a text of that length each token begins: one within a character where that does."""
    stream = TextStream(lambda some: lm.tokenizer.decode(some, skip_special=False), lm.tokenizer.token_bytes)
    starts, done = [], 0
    for token in ids:
        starts.append(min(done, length))  # a tokenizer may change the text (white space, case)
        done += len(stream.feed(token))
    return starts
