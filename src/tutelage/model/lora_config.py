"""Settings of low-rank adapters; kept apart from the modules so that reading a recipe needs no torch."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tutelage.store.config import Config


class LoraConfig(Config):
    """Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685): W + scale * B A, with A and B trained and W not.

    `targets`: names of projections inside the blocks (`q_proj`, `up_proj`, ...), or `all` of them. `layers`: only
    these blocks, counted from 0. `scale` is alpha / rank, or alpha / sqrt(rank) with `rslora` (Kalajdzievski 2023,
    arXiv 2312.03732). `dora`: the length of each row of the weight is trained apart from its direction (Liu et al.
    2024, arXiv 2402.09353).
    """

    rank: int = Field(16, ge=1)
    alpha: float = Field(32.0, gt=0, allow_inf_nan=False)
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: Literal["all"] | tuple[str, ...] = "all"
    layers: tuple[int, ...] | None = None
    rslora: bool = False
    dora: bool = False

    @field_validator("targets", mode="before")
    @classmethod
    def _names(cls, given: Any) -> Any:
        if isinstance(given, str) and given != "all":
            return tuple(name.strip() for name in given.split(","))
        return given

    @model_validator(mode="after")
    def _something_is_adapted(self) -> Self:
        if not self.targets or self.layers == ():
            raise ValueError("targets and layers must name something, or be left out")
        if self.layers and min(self.layers) < 0:
            raise ValueError("layers are counted from 0")
        return self
