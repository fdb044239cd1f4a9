"""Settings of low-rank adapters, in a separate module so that reading a recipe does not import torch."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tutelage.store.config import Config

Quantisation = Literal["none", "nf4", "nf4_double"]


class LoraConfig(Config):
    """Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685): W + scale * B A, with A and B trained and W frozen.

    `targets`: names of projections inside the blocks (`q_proj`, `up_proj`, ...), or `all` of them. `layers`: only these
    blocks, counted from 0. `scale` is alpha / rank, or alpha / sqrt(rank) with `rslora` (Kalajdzievski 2023, arXiv
    2312.03732). `dora`: the norm of each row of the weight is trained separately from its direction (Liu et al. 2024,
    arXiv 2402.09353). `init: pissa` (Meng et al. 2024, arXiv 2404.02948): A and B are initialised with the principal
    components of W, and the residual of W is frozen; computed by `svd_iterations` of randomised SVD (0: exact, but
    slow). `quantisation` (QLoRA; Dettmers et al. 2023, arXiv 2305.14314): W is stored in 4 bits, with `nf4_double` its
    scales in 8. `b_rate`: learning-rate factor of B relative to A (LoRA+; Hayou et al. 2024, arXiv 2402.12354,
    recommends 16).
    """

    rank: int = Field(16, ge=1)
    alpha: float = Field(32.0, gt=0, allow_inf_nan=False)
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: Literal["all"] | tuple[str, ...] = "all"
    layers: tuple[int, ...] | None = None
    rslora: bool = False
    dora: bool = False
    init: Literal["zero", "pissa"] = "zero"
    svd_iterations: int = Field(16, ge=0)
    quantisation: Quantisation = "none"
    b_rate: float = Field(1.0, gt=0, allow_inf_nan=False)

    @field_validator("targets", mode="before")
    @classmethod
    def _names(cls, given: Any) -> Any:
        if isinstance(given, str) and given != "all":
            return tuple(name.strip() for name in given.split(","))
        return given

    @model_validator(mode="after")
    def _something_is_adapted(self) -> Self:
        if not self.targets or self.layers == ():
            raise ValueError("targets and layers must not be empty; leave them out for the default")
        if self.layers and min(self.layers) < 0:
            raise ValueError("layers are counted from 0")
        if self.init == "pissa" and self.quantisation != "none":
            raise ValueError("init pissa and quantisation exclude each other: pissa changes the stored weights")
        if self.init == "pissa" and self.dora:
            raise ValueError("init pissa and dora exclude each other: no adapter on the original weights results")
        return self
