"""Forecast of finetuning: number and length of rows, and the measured cost of a token with this model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage.finetuning.context import LARGE, STEP, shortest_context
from tutelage.finetuning.data.folder import total_bytes
from tutelage.finetuning.data.marks import marks_of
from tutelage.store.errors import TutelageError
from tutelage.store.events import EventLog
from tutelage.store.stage import Facts, Forecast, Machine, StageSpec
from tutelage.tasks import task

OVERHEAD = 0.7  # s: loading and saving, at a `slowness` of 1
ROW_SECONDS = 2e-4  # to read, encode and pack a row, at a `slowness` of 1
ROW_BYTES = 1e4  # per row in memory: messages, tokens and targets
KERNELS = (
    1.2e8  # bytes left by steps of many shapes: compiled kernels (of 64 shapes, tutelage/__init__.py), fragmentation
)
TEMPLATE_TOKENS = 8.0  # added by the chat template to a question and its answer
ANSWER_TOKENS = 60.0  # per row of a task: a question and a one-line answer
LONG_ROW = 3.0  # times the mean length; 99 of 100 rows are shorter
LEARNED = 0.4  # share of a conversation's tokens that have a target


def rows_of(spec: StageSpec, config: Any, inputs: Mapping[str, Facts], kind: str) -> tuple[float, float] | None:
    """(training rows, tokens per row) of a step; None if unknown.

    kind: the fact of the corpus with the number of rows of the task (`described`, `train_documents`).
    """
    per_token = inputs.get("model", {}).get("bytes_per_token", 4.0)
    if config.data is not None:
        try:
            rows = spec.audit(config, EventLog()) if spec.audit else None
        except TutelageError:  # reported before anything runs
            return None
        if not rows:
            return None
        return float(rows), total_bytes(config.data) * (1 - config.heldout) / rows / per_token
    if config.task is not None and not (made := task(config.task)).columns:
        examples = made.examples([], [], 0).train
        size = sum(len(f"{row['prompt']}{row['response']}") for row in examples) / len(examples)
        return float(len(examples)), size / per_token + TEMPLATE_TOKENS
    corpus = inputs.get("corpus", {})
    if not corpus.get(kind):
        return None
    if kind == "train_documents":
        return float(corpus[kind]), corpus["document_bytes"] / per_token
    return float(corpus[kind]), ANSWER_TOKENS


def planned_context(config: Any, model: Facts, row_tokens: float) -> int:
    """The context of the step, estimated if it is chosen from the rows."""
    wanted = config.context_length or max(
        shortest_context(model.get("parameters", 0) >= LARGE), -(-int(LONG_ROW * row_tokens) // STEP) * STEP
    )
    return int(min(wanted, model["model"].max_position_embeddings)) if "model" in model else int(wanted)


def training_forecast(
    config: Any, inputs: Mapping[str, Facts], machine: Machine, rows: float, row_tokens: float, share: float,
    heldout_rows: float, extra_forward: float = 0.0,
) -> Forecast:  # fmt: skip
    """`extra_forward`: additional forward passes over all rows (a frozen reference), each a third of a step."""
    model = inputs.get("model", {})
    if "model" not in model:
        return Forecast()
    from tutelage.store.device import available_memory
    from tutelage.training.memory import frozen_bytes

    training = config.training
    context = planned_context(config, model, row_tokens)
    step_tokens = training.batch_rows * context
    tokens = float(training.steps * step_tokens) if training.steps else training.epochs * rows * row_tokens
    facts = {
        "steps": training.steps or max(1, round(tokens / step_tokens)),
        **marks_of(config.data),
        **{name: model[name] for name in ("model", "parameters", "bytes_per_token")},
        "rows": round(rows),
        "heldout_rows": round(heldout_rows),
        "row_tokens": row_tokens,
        "learning_rate": training.learning_rate,
        "lora": config.lora is not None,
        "frozen_bytes": frozen_bytes(model["model"], config.lora.quantisation) if config.lora else 0,
        "free_bytes": available_memory(),
        "frozen_bytes_nf4": frozen_bytes(model["model"], "nf4_double"),
    }
    rate = machine.training_seconds_per_token(model["model"], context, training, share, config.lora)
    saved = 4 * model["parameters"] / machine.bytes_per_second()
    read = (OVERHEAD + ROW_SECONDS * (rows + heldout_rows)) * machine.slowness()
    seconds = read + 2 * saved + rate * (tokens * 1.05 + extra_forward * rows * row_tokens / 3)
    memory = machine.process_memory() + KERNELS + ROW_BYTES * (rows + heldout_rows)
    memory += machine.training_memory(model["model"], context, training, share, config.lora)
    return Forecast.about(seconds, 0.55, 1.8, memory, facts)
