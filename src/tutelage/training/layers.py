"""Per-block statistics of one step: RMS of weights, gradients and activations, and the update ratio."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from tutelage.model.decoder import DecoderLM
from tutelage.training.distributed.parallel import total_norm


class LayerFigures:
    """Figures of one step, each a list over blocks.

    activation_rms: of the block's output, in this rank's rows. weight_rms; grad_rms, after clipping; update_ratio: norm
    of the update over the norm of the weights, about 1e-3 in a healthy run.
    """

    def __init__(self, model: DecoderLM) -> None:
        self.model = model
        self.blocks = [[one for one in block.parameters() if one.requires_grad] for block in model.layers]
        self.figures: dict[str, list[float]] = {}
        self._before: list[list[Tensor]] = []

    @contextlib.contextmanager
    def activations(self) -> Iterator[None]:
        """Context in which every block's output is measured."""
        means: list[list[float]] = [[] for _ in self.blocks]

        def hook(number: int) -> Any:
            return lambda block, inputs, output: means[number].append(_mean_square(output))

        handles = [
            block.register_forward_hook(hook(number))
            for number, block in enumerate(self.model.layers)
            if next(block.parameters(), None) is not None  # not in another pipeline stage
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        self.figures["activation_rms"] = [(sum(values) / max(1, len(values))) ** 0.5 for values in means]

    @torch.no_grad()
    def before_update(self) -> None:
        """Call after the backward pass and before the optimizer step."""
        self._before = [[one.detach().clone() for one in block] for block in self.blocks]
        self.figures["weight_rms"] = [_rms(block) for block in self._before]
        self.figures["grad_rms"] = [_rms([one.grad for one in block if one.grad is not None]) for block in self.blocks]

    @torch.no_grad()
    def after_update(self) -> dict[str, list[float]]:
        """All figures of the step."""
        ratios = []
        for block, before in zip(self.blocks, self._before, strict=True):
            size = total_norm(before)
            change = total_norm([one.detach() - old for one, old in zip(block, before, strict=True)])
            ratios.append(change / size if size else 0.0)
        self._before = []
        return {**self.figures, "update_ratio": ratios}


def _mean_square(output: Tensor) -> float:
    return float(output.detach().float().square().mean())


def _rms(tensors: Sequence[Tensor]) -> float:
    count = sum(one.numel() for one in tensors)
    return float(total_norm(list(tensors)) / count**0.5) if count else 0.0
