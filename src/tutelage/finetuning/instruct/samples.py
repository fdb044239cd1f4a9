"""Answers to a few held-out prompts during training, to show progress."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from tutelage.finetuning.examples import messages_of
from tutelage.model.decoder import DecoderLM
from tutelage.store.events import EventLog
from tutelage.tokenizer.tokenizer import Tokenizer

MAX_TOKENS = 48
SLOW = 20.0  # s; if answers take longer, sampling stops


class Samples:
    """Greedy answers after every `every`-th validation, as `sample` events with reference and sentence chrF.

    They draw no random numbers and do not affect training.
    """

    def __init__(self, tok: Tokenizer, rows: Sequence[dict[str, Any]], every: int, log: EventLog) -> None:
        self.tok, self.rows, self.every, self.log = tok, list(rows), every, log
        self.validations = 0

    def __call__(self, model: DecoderLM, step: int) -> None:
        self.validations += 1
        if not self.rows or (self.validations - 1) % self.every:
            return
        from sacrebleu.metrics.chrf import CHRF  # imported late, only if answers are generated

        from tutelage.inference.language_model import LanguageModel
        from tutelage.inference.sampling import Sampling

        started, training = time.monotonic(), model.training
        asked = [messages_of(row)[:-1] for row in self.rows]
        try:
            made = LanguageModel(model, self.tok).chat_batch(
                asked, Sampling(max_tokens=MAX_TOKENS), [row.get("tools") for row in self.rows]
            )
        finally:
            model.train(training)
        measure = CHRF()
        for row, answer in zip(self.rows, made, strict=True):
            reference = str(row["response"])
            score = float(measure.sentence_score(answer.text.strip(), [reference]).score)
            self.log.emit("sample", title=f"step {step}", step=step, prompt=row["prompt"], text=answer.text,
                          reference=reference, chrf=round(score, 2))  # fmt: skip
        if (took := time.monotonic() - started) > SLOW:
            self.log.note(
                f"answers to {len(self.rows)} prompts took {took:.0f} s: no more are generated during training"
            )
            self.rows = []
