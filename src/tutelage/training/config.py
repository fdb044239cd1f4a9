"""Settings of the training loop, the same for every objective."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from tutelage.store.config import Config
from tutelage.store.errors import nearest
from tutelage.training.live_rules import RULE_NAMES


class ParallelConfig(Config):
    """How the ranks of a run share the work; no effect in a single process.

    Each of the `pipeline` stages has consecutive blocks; the microbatches of a step (`accumulation`) are pipelined
    through them, so there should be several per stage. `tensor`: ranks that shard each matrix (tensor parallelism). The
    remaining ranks are data-parallel; groups of `shard` of them share one copy of the weights: 0 for all (FSDP), 1 for
    a full copy on each (DDP), in between hybrid sharding.
    """

    shard: int = Field(0, ge=0)
    tensor: int = Field(1, ge=1)
    pipeline: int = Field(1, ge=1)


class TrainingConfig(Config):
    """Settings of the training loop: length, learning rate, batch size, optimizer, checkpoints.

    `steps` 0: `epochs` passes over the rows. One step is `batch_rows` packed rows, split into `accumulation` equal
    microbatches. With `muon` or `soap`, it trains the matrices inside the blocks and AdamW the rest, at the same
    learning rate (Muon's update is scaled to AdamW's; Moonlight, section 2.2). `embedding_rate`: factor on that rate
    for the token embedding, whose rows only get gradients from their own tokens.
    """

    steps: int = Field(0, ge=0)
    epochs: float = Field(1.0, gt=0)
    batch_rows: int = Field(16, ge=1)
    accumulation: int = Field(1, ge=1)
    optimizer: Literal["adamw", "muon", "lion", "soap", "schedule_free"] = "adamw"
    learning_rate: float = Field(1e-3, ge=0)  # 0: no learning, as a check of the evaluation
    embedding_rate: float = Field(1.0, gt=0)
    base_width: int = Field(
        0, ge=0
    )  # muP: hidden_size that learning_rate was tuned for; it is transferred to the model's; 0: off
    schedule: Literal["cosine", "wsd", "linear", "constant"] = "cosine"
    warmup_steps: int = Field(20, ge=0)
    decay_fraction: float = Field(0.3, ge=0, le=1)  # wsd: the share of the run with linear decay
    final_fraction: float = Field(0.05, ge=0, le=1)  # final learning rate as a share of the peak
    weight_decay: float = Field(0.1, ge=0)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.98, ge=0, lt=1)
    grad_clip: float = Field(1.0, gt=0)
    freeze_blocks: int = Field(0, ge=0)  # freeze the embeddings and this many first blocks
    # auto: bfloat16 if measured to be faster; float8: matrix products in the blocks, by torchao
    precision: Literal["auto", "float32", "bfloat16", "float8"] = "auto"
    device: str = "auto"
    compile: bool = False  # fused kernels; pays off in long runs
    activation_checkpointing: bool = False  # a third more compute, a fraction of the memory
    tune: bool = False  # time a few settings (threads, accumulation, compile) and use the fastest
    average: Literal["none", "ema", "tail"] = "none"
    average_decay: float = Field(0.999, ge=0, lt=1)  # ema
    average_from: float = Field(0.8, ge=0, lt=1)  # tail: average the weights from this share of the run on
    spike_sigma: float = Field(0.0, ge=0)  # skip updates this many robust deviations above the median; 0: never
    spike_patience: int = Field(10, ge=1)  # consecutive spikes before a rollback
    rollback_every: int = Field(100, ge=1)  # steps between rollback checkpoints
    max_rollbacks: int = Field(3, ge=0)
    threads: int = Field(0, ge=0)
    parallel: ParallelConfig = ParallelConfig()
    checkpoint_seconds: float = Field(20.0, ge=0)  # 0: after every step
    keep_checkpoints: int = Field(2, ge=1)
    log_every: int = Field(10, ge=1)
    layers_every: int = Field(100, ge=0)  # steps between measurements of the blocks; 0: never
    validate_every: int = Field(0, ge=0)  # 0: only at the end
    validation_rows: int = Field(64, ge=0)  # rows per validation, except for the last one, which uses all
    stop_on: tuple[str, ...] = ()  # warnings (`live_rules`) that stop the run after a checkpoint
    use_best: bool = False  # keep the weights with the lowest validation loss instead of the last ones

    @field_validator("stop_on")
    @classmethod
    def _known_warnings(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in RULE_NAMES:
                raise ValueError(f"unknown warning {name!r}: {nearest(name, RULE_NAMES)}")
        return names

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.batch_rows % self.accumulation:
            raise ValueError(f"batch_rows ({self.batch_rows}) must be a multiple of accumulation ({self.accumulation})")
        if self.optimizer == "schedule_free" and (self.schedule != "constant" or self.average != "none"):
            raise ValueError("optimizer schedule_free has built-in averaging: set schedule: constant and average: none")
        if self.optimizer == "schedule_free" and not self.beta1:
            raise ValueError("optimizer schedule_free requires beta1 above 0, because it divides by it")
        if self.optimizer == "schedule_free" and not self.learning_rate:
            raise ValueError("optimizer schedule_free requires a learning_rate above 0, which weights its average")
        if "overfitting" in self.stop_on and not self.validate_every:
            raise ValueError("stop_on overfitting requires validations: set validate_every")
        if self.use_best and not self.validate_every:
            raise ValueError("use_best requires validations: set validate_every")
        if self.use_best and self.average != "none":
            raise ValueError("use_best and average exclude each other: both choose the final weights")
        if self.base_width and self.optimizer == "soap":
            raise ValueError("base_width (muP) supports adamw, lion, schedule_free and muon, but not soap")
        if self.spike_sigma and self.spike_patience > self.rollback_every:
            raise ValueError(
                f"spike_patience ({self.spike_patience}) must be at most rollback_every ({self.rollback_every})"
            )
        return self
