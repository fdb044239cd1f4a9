"""Settings of the training loop, the same for every objective."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from tutelage.store.config import Config
from tutelage.store.errors import nearest
from tutelage.training.live_rules import RULE_NAMES


class ParallelConfig(Config):
    """How the ranks of a run share the work; without effect in one process.

    Each of `pipeline` stages holds consecutive blocks; the microbatches of a step (`accumulation`) follow each other
    through them, so there should be several per stage. `tensor` ranks shard every matrix among them. The others
    share the batch; of these, `shard` hold one copy of the weights together: 0 for all (FSDP), 1 for a whole copy on
    each (DDP), between them hybrid sharding.
    """

    shard: int = Field(0, ge=0)
    tensor: int = Field(1, ge=1)
    pipeline: int = Field(1, ge=1)


class TrainingConfig(Config):
    """Length, learning rate, batch size and the rest of the settings of training.

    `steps` 0 means: `epochs` passes over the rows. One step is `batch_rows` packed rows, taken in `accumulation`
    equal microbatches. With `muon` (or `soap`), matrices inside the blocks are trained by it and the rest by AdamW, at
    one learning rate (Muon's update is scaled to AdamW's; Moonlight, section 2.2). `embedding_rate` multiplies that
    rate for the token embedding: each of its rows learns only from its own tokens, the other weights from all.
    """

    steps: int = Field(0, ge=0)
    epochs: float = Field(1.0, gt=0)
    batch_rows: int = Field(16, ge=1)
    accumulation: int = Field(1, ge=1)
    optimizer: Literal["adamw", "muon", "lion", "soap", "schedule_free"] = "adamw"
    learning_rate: float = Field(1e-3, ge=0)  # 0: nothing is learned, which an evaluation must find
    embedding_rate: float = Field(1.0, gt=0)
    base_width: int = Field(
        0, ge=0
    )  # muP: learning_rate is for this hidden_size and transferred to the model's; 0: off
    schedule: Literal["cosine", "wsd", "linear", "constant"] = "cosine"
    warmup_steps: int = Field(20, ge=0)
    decay_fraction: float = Field(0.3, ge=0, le=1)  # wsd: the last part of the run, decayed linearly
    final_fraction: float = Field(0.05, ge=0, le=1)  # learning rate at the end, of the peak
    weight_decay: float = Field(0.1, ge=0)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.98, ge=0, lt=1)
    grad_clip: float = Field(1.0, gt=0)
    freeze_blocks: int = Field(0, ge=0)  # embeddings and this many first blocks keep their weights
    # auto: bfloat16 where it is measured to be faster; float8: products in the blocks, by torchao
    precision: Literal["auto", "float32", "bfloat16", "float8"] = "auto"
    device: str = "auto"
    compile: bool = False  # fused kernels; pays in long runs
    activation_checkpointing: bool = False  # a third more work, a fraction of the memory
    tune: bool = False  # time a few settings first (threads, accumulation, compile) and keep the fastest
    average: Literal["none", "ema", "tail"] = "none"
    average_decay: float = Field(0.999, ge=0, lt=1)  # ema
    average_from: float = Field(0.8, ge=0, lt=1)  # tail: mean of the weights over the rest of the run
    spike_sigma: float = Field(0.0, ge=0)  # updates are skipped this many robust deviations above the median; 0: never
    spike_patience: int = Field(10, ge=1)  # spikes in a row before training rolls back
    rollback_every: int = Field(100, ge=1)  # steps between the checkpoints that it rolls back to
    max_rollbacks: int = Field(3, ge=0)
    threads: int = Field(0, ge=0)
    parallel: ParallelConfig = ParallelConfig()
    checkpoint_seconds: float = Field(20.0, ge=0)  # 0: after every step
    keep_checkpoints: int = Field(2, ge=1)
    log_every: int = Field(10, ge=1)
    layers_every: int = Field(100, ge=0)  # steps between two measurements of the blocks; 0: never
    validate_every: int = Field(0, ge=0)  # 0: only at the end
    validation_rows: int = Field(64, ge=0)  # rows of each validation but the last, which takes all
    stop_on: tuple[str, ...] = ()  # warnings (`live_rules`) that stop the run, with a checkpoint
    use_best: bool = False  # end with the weights of the lowest validation loss instead of the last ones

    @field_validator("stop_on")
    @classmethod
    def _known_warnings(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in RULE_NAMES:
                raise ValueError(f"there is no warning {name!r}: {nearest(name, RULE_NAMES)}")
        return names

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.batch_rows % self.accumulation:
            raise ValueError(f"batch_rows ({self.batch_rows}) must be a multiple of accumulation ({self.accumulation})")
        if self.optimizer == "schedule_free" and (self.schedule != "constant" or self.average != "none"):
            raise ValueError("optimizer schedule_free averages by itself: set schedule: constant and average: none")
        if self.optimizer == "schedule_free" and not self.beta1:
            raise ValueError("optimizer schedule_free needs beta1 above 0: it divides by it")
        if self.optimizer == "schedule_free" and not self.learning_rate:
            raise ValueError("optimizer schedule_free averages by the learning rate, which must be above 0")
        if "overfitting" in self.stop_on and not self.validate_every:
            raise ValueError("stop_on overfitting compares validations: set validate_every")
        if self.use_best and not self.validate_every:
            raise ValueError("use_best compares validations: set validate_every")
        if self.use_best and self.average != "none":
            raise ValueError("use_best and average both say which weights are kept: choose one")
        if self.base_width and self.optimizer == "soap":
            raise ValueError("base_width (muP) is known for adamw, lion, schedule_free and muon, not for soap")
        if self.spike_sigma and self.spike_patience > self.rollback_every:
            raise ValueError(
                f"spike_patience ({self.spike_patience}) must be at most rollback_every ({self.rollback_every})"
            )
        return self
