"""The context length of a run: configured, or chosen to keep nearly every row."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch

from tutelage.model.config import ModelConfig
from tutelage.model.describe import parameters
from tutelage.store.device import available_memory, choose_device
from tutelage.store.errors import DamagedError
from tutelage.store.events import EventLog
from tutelage.store.files import write_json
from tutelage.training.config import TrainingConfig
from tutelage.training.distributed.world import current_world
from tutelage.training.memory import training_bytes

FILE = "context.json"  # in the work directory
KEPT = 0.99  # share of rows that an automatic context keeps
STEP = 64  # tokens; a chosen context is a multiple of it
LARGE = 30e6  # parameters; from this size on, rows are made longer to pack short examples
MEMORY_SHARE = 0.5  # of the free memory that longer rows may take


def shortest_context(large: bool) -> int:
    """Minimum row length, so that a step is efficient: several examples are packed into each row."""
    return 1024 if large else 256


def keeps(needs: Sequence[int], share: float) -> int:
    """The smallest context that keeps this share of the rows, given their lengths; 0 for no rows."""
    return sorted(needs)[math.ceil(share * len(needs)) - 1] if needs else 0


def chosen_context(
    needs: Sequence[int], model: ModelConfig, training: TrainingConfig, memory: float, sizes: Sequence[int] = ()
) -> tuple[int, str]:
    """The context that keeps 99 % of the rows, and what limits it, if anything: the model, or `memory` (bytes free).

    sizes: the tokens of each row, if more than the context it needs (a pair: of both answers).
    """
    wanted = -(-keeps(needs, KEPT) // STEP) * STEP
    wanted = max(wanted, shortest_context(sum(parameters(model).values()) >= LARGE))
    longest = model.max_position_embeddings
    fits = _fits(needs, sizes, model, training, memory)
    if fits < min(wanted, longest):
        return fits, "memory"
    return (longest, "the model") if longest < wanted else (wanted, "")


def context_for(
    asked: int, needs: Sequence[int], model: ModelConfig, training: TrainingConfig, work: Path, log: EventLog,
    sizes: Sequence[int] = (),
) -> int:  # fmt: skip
    """The context of a run: `asked`, limited by the model; 0 chooses it from the rows.

    A resumed run keeps its context (`work/context.json`); rank 0 decides for all. Raises DamagedError for a file
    without a valid context.
    """
    longest = model.max_position_embeddings
    if asked:
        if asked > longest:
            log.note(f"context_length {asked} is limited to the model's {longest}")
        return min(asked, longest)
    world = current_world()
    chosen = _read_or_choose(needs, model, training, work / FILE, log, sizes) if world.first else 0
    return round(world.sums([float(chosen)])[0])


def _read_or_choose(
    needs: Sequence[int], model: ModelConfig, training: TrainingConfig, file: Path, log: EventLog, sizes: Sequence[int]
) -> int:
    if file.exists():
        try:
            return int(json.loads(file.read_text(encoding="utf-8"))["context"])
        except (ValueError, KeyError, TypeError):
            raise DamagedError(
                f"{file} contains no valid context", hint="remove the work directory to start again"
            ) from None
    context, bound = chosen_context(needs, model, training, free_memory(training), sizes)
    write_json(file, {"context": context})
    log.note(_sentence(context, bound, needs))
    return context


def planned(
    asked: int, needs: Sequence[int], model: ModelConfig, training: TrainingConfig, log: EventLog,
    sizes: Sequence[int] = (),
) -> int:  # fmt: skip
    """The forecast of `context_for`, before a run exists."""
    if asked:
        return min(asked, model.max_position_embeddings)
    context, bound = chosen_context(needs, model, training, free_memory(training), sizes)
    log.note(_sentence(context, bound, needs))
    return context


def _sentence(context: int, bound: str, needs: Sequence[int]) -> str:
    """The choice of context as a log message."""
    kept = sum(one <= context for one in needs)
    limited = f"; limited by {bound}" if bound else ""
    return f"context_length {context}, chosen from the rows: {kept} of {len(needs)} are kept{limited}"


def free_memory(training: TrainingConfig) -> float:
    """Free memory in bytes on the training device."""
    device = choose_device(training.device)
    return float(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else available_memory()


_LONG = 64 * STEP  # from this context on only activations grow, since logits are computed in chunks


def _fits(
    needs: Sequence[int], sizes: Sequence[int], model: ModelConfig, training: TrainingConfig, memory: float
) -> int:
    """The longest context, in multiples of `STEP`, with which the activations of a step fit in memory.

    A packed row is as long as the context, or as the longest row that the context keeps.
    """
    rows = max(1, training.batch_rows // training.accumulation)

    def bytes_of(context: int) -> int:
        return training_bytes(model, rows, context, training.optimizer, training.activation_checkpointing)

    each = (bytes_of(2 * _LONG) - bytes_of(_LONG)) / _LONG
    room = int(MEMORY_SHARE * memory / each)
    too_large = [need for need, size in zip(needs, sizes, strict=False) if size > room]
    return max(STEP, min([room, *(need - 1 for need in too_large)]) // STEP * STEP)
