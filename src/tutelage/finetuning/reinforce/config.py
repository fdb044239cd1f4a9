"""Settings of reinforcement finetuning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from tutelage.finetuning.config import FinetuneConfig
from tutelage.finetuning.reinforce.rewards import RewardConfig, check_rewards
from tutelage.training.config import TrainingConfig

if TYPE_CHECKING:
    from tutelage.finetuning.reinforce.method import Method

_GRPO = {"advantage": "group", "ratio": "token", "clip": "clip", "aggregation": "answer_mean",
         "epsilon": 0.2, "epsilon_high": 0.2}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "grpo": _GRPO,
    "bnpo": {**_GRPO, "aggregation": "token_mean"},
    "dr_grpo": {**_GRPO, "advantage": "mean", "aggregation": "fixed_length"},
    "dapo": {**_GRPO, "aggregation": "token_mean", "epsilon_high": 0.28},
    "gspo": {**_GRPO, "ratio": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4},
    "cispo": {**_GRPO, "clip": "cispo", "aggregation": "token_mean"},
    "sapo": {**_GRPO, "clip": "sapo"},
    "luspo": {**_GRPO, "ratio": "sequence", "aggregation": "answer_sum", "epsilon": 3e-4, "epsilon_high": 4e-4},
    "rloo": {**_GRPO, "advantage": "leave_one_out", "ratio": "sequence_sum"},
}
"""The choices of each published method; clipping ranges are those of its authors (LUSPO: those of GSPO)."""

Preset = Literal["grpo", "bnpo", "dr_grpo", "dapo", "gspo", "cispo", "sapo", "luspo", "rloo"]


class ReinforceConfig(FinetuneConfig):
    """Reinforcement with verifiable rewards.

    In each step the model samples `num_generations` answers to each of `training.batch_rows` prompts at `temperature`,
    of at most `max_tokens` tokens; the `rewards` score them, and answers above the mean of their group become more
    likely. `updates_per_rollout`: number of optimizer steps on the same answers. `preset`: a published method;
    `advantage`, `ratio`, `clip`, `aggregation`, `epsilon`, `epsilon_high` override its choices (None: the preset's).
    `beta`: weight of the KL to the initial model, estimated by `kl` and added to the loss or (`kl_in: reward`)
    subtracted from the reward. `mask_truncated`: exclude answers that reached `max_tokens` from the loss.
    `chat`: prompts are user turns; otherwise the model continues them as text, up to the end of the line.
    `passes`: name of the reward whose maximum means "solved"; empty: the first. `mean_at`: number of sampled answers
    per held-out problem, before and after. `heldout`: held-out share of the file, at most `max_heldout` problems.
    """

    rewards: dict[str, RewardConfig] = Field(default_factory=dict)
    passes: str = ""
    chat: bool = True
    num_generations: int = Field(8, ge=2)
    temperature: float = Field(1.0, gt=0)
    max_tokens: int = Field(64, ge=1)
    updates_per_rollout: int = Field(1, ge=1)
    preset: Preset = "dapo"
    advantage: Literal["group", "mean", "batch", "leave_one_out"] | None = None
    ratio: Literal["token", "sequence", "sequence_sum"] | None = None
    clip: Literal["clip", "cispo", "sapo"] | None = None
    aggregation: Literal["answer_mean", "token_mean", "answer_sum", "fixed_length"] | None = None
    epsilon: float | None = Field(None, gt=0, lt=1)
    epsilon_high: float | None = Field(None, gt=0)
    delta: float | None = Field(None, gt=1)
    ratio_cap: float = Field(5.0, gt=0)
    beta: float = Field(0.0, ge=0)
    kl: Literal["k1", "k2", "k3"] = "k3"
    kl_corrected: bool = True
    kl_in: Literal["loss", "reward"] = "loss"
    mask_truncated: bool = False
    max_rows: int = Field(0, ge=0)
    heldout: float = Field(0.1, gt=0, lt=1)
    max_heldout: int = Field(200, ge=1)
    mean_at: int = Field(4, ge=0)
    training: TrainingConfig = TrainingConfig(
        steps=200, batch_rows=8, learning_rate=1e-4, warmup_steps=5, schedule="constant", weight_decay=0.0
    )

    def method(self) -> Method:
        """The preset with the overrides applied."""
        from tutelage.finetuning.reinforce.method import Method

        chosen = {name: default if (own := getattr(self, name)) is None else own
                  for name, default in PRESETS[self.preset].items()}  # fmt: skip
        return Method(
            **chosen, delta=self.delta, ratio_cap=self.ratio_cap, beta=self.beta, kl=self.kl,
            kl_corrected=self.kl_corrected, kl_in_reward=self.kl_in == "reward", max_tokens=self.max_tokens,
        )  # fmt: skip

    @model_validator(mode="after")
    def _check_rewards(self) -> Self:
        self.needs_rows()
        check_rewards(self.rewards, self.task)
        if self.passes and self.passes not in self.rewards:
            raise ValueError(
                f"passes must name a reward: {self.passes!r} is not one of {', '.join(self.rewards) or 'none'}"
            )
        return self

    @model_validator(mode="after")
    def _check_method(self) -> Self:
        chosen = self.method()
        if self.delta is not None and (chosen.clip != "clip" or self.delta <= 1 + chosen.epsilon_high):
            raise ValueError(
                f"delta applies to clip: clip only, and must be above 1 + epsilon_high ({1 + chosen.epsilon_high:g})"
            )
        if self.kl == "k1" and self.beta and self.kl_in == "loss" and not self.kl_corrected:
            raise ValueError(
                "kl: k1 has zero expected gradient in the loss; set kl_in: reward, kl_corrected: true, or kl: k3"
            )
        return self

    @model_validator(mode="after")
    def _check_training(self) -> Self:
        training = self.training
        if not training.steps:
            raise ValueError("training.steps must be set: the number of rows does not determine the length of the run")
        if training.validate_every or training.use_best:
            raise ValueError(
                "training.validate_every and use_best do not apply: there is no validation loss, only rewards"
            )
        if training.compile or training.tune:
            raise ValueError("training.compile and tune do not support answers of varying lengths; leave them off")
        if training.parallel.pipeline > 1:
            raise ValueError("training.parallel.pipeline must be 1: a model split into pipeline stages cannot generate")
        if self.lora and self.lora.dropout:
            raise ValueError("lora.dropout must be 0: it would add noise to the ratio to the sampling policy")
        return self
