"""Weight averaging: exponential, or uniform over the last part of a run."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tutelage.training.config import TrainingConfig


class WeightAverage:
    """A float32 average of the trained weights.

    `ema`: decay min(average_decay, (1 + t) / (10 + t)) after update t, so that the initial weights decay quickly.
    `tail`: mean over the steps from the share `average_from` of the run on (Izmailov et al. 2018; Hägele et al. 2024,
    section 3.2). Before its first update it equals the weights.
    """

    def __init__(self, model: nn.Module, config: TrainingConfig) -> None:
        self.config = config
        trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self.parameters = trained if config.average != "none" else {}
        self.values = {name: value.detach().float().clone() for name, value in self.parameters.items()}
        self.count = 0

    @torch.no_grad()
    def update(self, step: int, steps: int) -> None:
        """Update the average after `step` (0-based) of `steps`."""
        if not self.parameters or (self.config.average == "tail" and step < self.config.average_from * steps):
            return
        if self.config.average == "ema":
            share = 1 - min(self.config.average_decay, (1 + self.count) / (10 + self.count))
        else:
            share = 1 / (self.count + 1)
        self.count += 1
        for name, value in self.values.items():
            value.lerp_(self.parameters[name].detach().to(value.dtype), share)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors to checkpoint, by name; `count` is stored separately."""
        return self.values

    @torch.no_grad()
    def apply(self) -> None:
        """Copy the average into the weights, if there was an update."""
        if self.count:
            for name, value in self.values.items():
                self.parameters[name].copy_(value.to(self.parameters[name].dtype))
