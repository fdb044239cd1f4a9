"""Likelihood of the reference answers of held-out rows, before and after a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.figures import Comparison, Figure, figure, row
from tutelage.evaluation.paired import Resampling, compare_means, compare_shares
from tutelage.evaluation.spec import Subject
from tutelage.evaluation.statistics import bootstrap_mean, bootstrap_ratio, wilson
from tutelage.evaluation.subjects import Row, rows_of
from tutelage.evaluation.verdicts import percent
from tutelage.store.events import EventLog
from tutelage.store.hashing import sha256_text
from tutelage.store.progress import batches
from tutelage.tokenizer.messages import Message, message_of

if TYPE_CHECKING:
    from tutelage.inference.language_model import LanguageModel

LOSS, LIKELIER, MARGIN = "answer loss", "likelihood accuracy", "chosen margin"
NATS = "nats per answer token"


@dataclass(frozen=True)
class HeldoutRows:
    """The held-out rows of a step and the models that score them: its parent, if measured, and the step's model."""

    name: str
    kind: Literal["answers", "pairs"]
    who: tuple[str, ...]
    rows: list[Row]


@dataclass(frozen=True)
class Scored:
    """One model's scores: natural-log probability and token count of each answer (for pairs: the chosen one), and of
    each rejected answer."""

    logprobs: NDArray[np.float64]
    tokens: NDArray[np.float64]
    rejected: NDArray[np.float64] | None = None
    rejected_tokens: NDArray[np.float64] | None = None

    @property
    def margin(self) -> NDArray[np.float64]:
        """Log-probability per token of the chosen answer minus that of the rejected one [rows]."""
        assert self.rejected is not None and self.rejected_tokens is not None
        return self.logprobs / self.tokens - self.rejected / self.rejected_tokens


def heldout_rows(
    subjects: Sequence[Subject], models: Mapping[str, Path], wanted: Sequence[str], config: EvaluateConfig
) -> list[HeldoutRows]:
    """A fixed random sample of the held-out rows of every step that has answers or pairs."""
    found = []
    for subject in subjects:
        writes = subject.makes in ("language model", "chat model")
        if not writes or subject.heldout not in ("answers", "pairs") or (wanted and subject.name not in wanted):
            continue
        before = (subject.parent,) if subject.parent in models else ()
        needed = {"chosen", "rejected"} if subject.heldout == "pairs" else set()  # answers may be judged singly
        rows = [item for item in rows_of(models[subject.name])[1] if needed <= item.keys()]
        rows = sorted(rows, key=lambda item: sha256_text(f"{item['id']}\0{item}"))
        if rows:
            found.append(HeldoutRows(subject.name, subject.heldout, (*before, subject.name), rows[: config.loss_rows]))
    return found


def score_rows(lm: LanguageModel, who: str, one: HeldoutRows, config: EvaluateConfig, log: EventLog) -> Scored:
    """Score the trained-on part of each row: all answers of a conversation, or both sides of a pair."""
    if one.kind == "answers":
        conversations = [_conversation(item) for item in one.rows]
        logprobs, tokens = _scores(lm, f"{who}: held-out answers", conversations, config, log)
        return Scored(logprobs, tokens)
    sides = [_side(item, key) for item in one.rows for key in ("chosen", "rejected")]
    logprobs, tokens = _scores(lm, f"{who}: held-out pairs", sides, config, log)
    return Scored(logprobs[::2], tokens[::2], logprobs[1::2], tokens[1::2])


def likelihood_figures(
    one: HeldoutRows, scored: Mapping[str, Scored], config: EvaluateConfig, seed: int
) -> tuple[list[Figure], list[Comparison]]:
    """Figures of the step's model and its parent on the same rows, and their paired comparisons."""
    how, n, step = Resampling.of(config, seed), len(one.rows), one.name
    parties = {who: scored[who] for who in one.who if who in scored}
    before = next((who for who in parties if who != step), None)
    task = f"{one.kind} of {step}"
    losses = {who: -party.logprobs for who, party in parties.items()}
    tokens = parties[step].tokens
    what = "chosen answers" if one.kind == "pairs" else "answers"
    note = (
        f"Negative log-likelihood per token of the {what} of {n} held-out rows, stop token included; "
        f"{percent(config.confidence)} intervals, rows as items. Comparisons are paired row by row."
    )
    rows = [row(who, bootstrap_ratio(loss, tokens, **how.options), n) for who, loss in losses.items()]
    figures = [figure(task, LOSS, NATS, False, rows, note)]
    comparisons: list[Comparison] = []
    if before is not None:
        comparisons.append(compare_means(
            step, before, LOSS, losses[step], losses[before], how, weights=tokens, higher_is_better=False, unit=NATS,
            digits=3,
        ))  # fmt: skip
    if one.kind == "answers":
        return figures, comparisons
    margins = {who: party.margin for who, party in parties.items()}
    right = {who: np.where(margin == 0, 0.5, margin > 0) for who, margin in margins.items()}
    figures += [
        figure(task, LIKELIER, "share", True,
               [row(who, wilson(float(flags.sum()), n, config.confidence), n) for who, flags in right.items()],
               f"Share of {n} held-out pairs in which the chosen answer is likelier per token than the rejected one."),
        figure(task, MARGIN, NATS, True,
               [row(who, bootstrap_mean(margin, **how.options), n) for who, margin in margins.items()],
               "Log-probability per token of the chosen answer minus that of the rejected one, mean over the pairs."),
    ]  # fmt: skip
    if before is not None:
        comparisons.append(compare_shares(step, before, LIKELIER, right[step], right[before], how))
        comparisons.append(
            compare_means(step, before, MARGIN, margins[step], margins[before], how, unit=NATS, digits=3)
        )
    return figures, comparisons


Conversation = tuple[list[Message], list[float], list[Row] | None]
"""The fields that scoring needs: loss weight of each message, and the tools that may be called."""


def _conversation(item: Row) -> Conversation:
    """A conversation as in training; an answer of weight 0 is read but not scored."""
    if not (turns := item.get("messages")):
        return [Message("user", str(item["prompt"])), Message("assistant", str(item["response"]))], [1.0, 1.0], None
    weights = [0.0 if turn.get("trained") is False else float(turn.get("weight", 1.0)) for turn in turns]
    return [message_of(turn) for turn in turns], weights, item.get("tools")


def _side(item: Row, key: str) -> Conversation:
    """The shared turns and one of the two answers; only the answer is scored."""
    turns = item.get("messages") or [{"role": "user", "content": str(item["prompt"])}]
    asked = [message_of(turn) for turn in turns]
    return [*asked, Message("assistant", str(item[key]))], [*(0.0 for _ in asked), 1.0], None


def _scores(
    lm: LanguageModel, what: str, conversations: Sequence[Conversation], config: EvaluateConfig, log: EventLog
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    found: list[tuple[float, float]] = []
    for part in batches(log, what, conversations, config.batch, "answers"):
        found += lm.score_chat(*(list(one) for one in zip(*part, strict=True)))
    return np.array([logprob for logprob, _ in found]), np.array([tokens for _, tokens in found])
