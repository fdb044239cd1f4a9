"""Throughput of a run: tokens per second, relative to the machine's ceiling and to the forecast."""

from __future__ import annotations

import time
from typing import Any

import torch

from tutelage.model.config import ModelConfig
from tutelage.model.describe import forward_flops, parameters
from tutelage.store.device import ceiling, memory_mb, peak_memory_mb
from tutelage.store.events import EventLog
from tutelage.training.config import TrainingConfig
from tutelage.training.memory import training_bytes

ENOUGH_STEPS = 50  # in shorter runs the ceiling is not measured, which takes 0.2 s
FIRST_STEPS = 3  # excluded from the forecast: warmup and compilation
FORECAST_AFTER = 2.0  # s of steps that the forecast is based on


class Meter:
    """Counts tokens and time of this process; it does not affect the result of the run.

    The share of the ceiling counts model FLOPs: three times the forward pass, attention over the full row (PaLM,
    appendix B), without the recomputation of activation checkpointing.
    """

    def __init__(self, model: ModelConfig, length: int, config: TrainingConfig, steps: int, device: torch.device,
                 dtype: torch.dtype, processes: int, log: EventLog) -> None:  # fmt: skip
        self.log, self.steps, self.processes, self.device = log, steps, processes, device
        self.flops = 3 * forward_flops(model, length)
        self.ceiling, self.kind = ceiling(device, dtype) if steps >= ENOUGH_STEPS else (0.0, "")
        rows = max(1, config.batch_rows // config.accumulation // processes)
        beside = training_bytes(model, rows, length, config.optimizer, config.activation_checkpointing)
        weights = 4 * sum(parameters(model).values())
        # On a CPU: resident memory of the process, weights included, plus what training adds.
        self.memory = beside >> 20 if device.type == "cuda" else memory_mb() + (max(0, beside - weights) >> 20)
        self.begin = time.monotonic()
        self.tokens = self.done = 0
        self.forecast: float | None = None
        self._warm = (0.0, 0)

    def step(self, tokens: int, left: int) -> None:
        """Count one step, with `left` to go. Reports the forecast once there are enough steps."""
        self.tokens += tokens
        self.done += 1
        now = time.monotonic() - self.begin
        if self.done <= FIRST_STEPS:
            self._warm = (now, self.done)
        elif self.forecast is None and left and now - self._warm[0] >= FORECAST_AFTER:
            pace = (now - self._warm[0]) / (self.done - self._warm[1])
            self.forecast = now + pace * left
            # After these steps every training buffer has been allocated once.
            self.memory = self._peak_memory()
            self.log.emit("forecast", seconds=round(self.forecast, 1), memory_mb=self.memory, **self.speed())

    def speed(self) -> dict[str, Any]:
        """Tokens per second of all processes, and the share of the ceiling under its name (`gemm_share` or `mfu`)."""
        rate = self.tokens / max(time.monotonic() - self.begin, 1e-9)
        shown: dict[str, Any] = {"tokens_per_second": round(rate)}
        if self.ceiling:
            name = "mfu" if self.kind == "MFU" else "gemm_share"
            shown[name] = round(rate * self.flops / (self.ceiling * self.processes), 4)
        return shown

    def timing(self) -> dict[str, Any]:
        """The final figures, forecast and actual."""
        seconds = time.monotonic() - self.begin
        return {
            "seconds": round(seconds, 2),
            **self.speed(),
            **({"forecast_seconds": round(self.forecast, 1)} if self.forecast else {}),
            "forecast_memory_mb": self.memory,
            "memory_mb": self._peak_memory(),
            **({"ceiling_gflops": round(self.ceiling / 1e9, 1)} if self.ceiling else {}),
        }

    def _peak_memory(self) -> int:
        """Peak MiB: resident memory of the process on a CPU, allocated memory on a GPU."""
        return torch.cuda.max_memory_allocated() >> 20 if self.device.type == "cuda" else peak_memory_mb()
