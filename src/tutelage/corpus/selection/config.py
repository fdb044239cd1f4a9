"""By what documents are selected, and how much of them is kept."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from tutelage.store.config import Config


class SelectConfig(Config):
    """Selection by measure (`corpus.select`). Quality and relevance need evidence: a file or folder of examples.

    `good`: a few hundred examples of good text; a classifier learns to tell them from the rest of the corpus.
    `model`: a directory of a small model; text that it finds likely counts as good. `scores`: a table with the columns
    `id` (or `text`) and `score`, the higher the better. Of these three one. `target`: a sample of the text that the
    model is for; documents are weighted by how much likelier their words are in it (DSIR).
    """

    good: str = ""
    model: str = ""
    scores: str = ""
    target: str = ""
    quality: float = Field(default=1.0, ge=0.0)
    """Weight of quality in what is kept; so are `relevance` and `diversity`. Only their ratios count."""
    relevance: float = Field(default=1.0, ge=0.0)
    diversity: float = Field(default=0.5, ge=0.0)
    keep: float = Field(default=0.5, gt=0.0, le=1.0)
    """Share of the text, in bytes, that is kept."""
    tokens: int = Field(default=0, ge=0)
    """Keep about so many tokens instead, at four bytes each; 0: by `keep`."""
    min_quality: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Documents of which the classifier is less sure than this that they are good go, whatever the budget."""
    clusters: int = Field(default=64, ge=2, le=4096)
    """Topics, found in the corpus itself, among which diversity spreads the budget."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = [name for name in ("good", "model", "scores") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"quality is given by {' and '.join(given)}; one of them is enough")
        if not given and not self.target and not self.diversity:
            raise ValueError(
                "there is nothing to select by: give good, model, scores or target, or a diversity above 0"
            )
        if self.min_quality and not self.good:
            raise ValueError("min_quality is a probability of the classifier, which needs examples in `good`")
        if not any(self.weights.values()):
            raise ValueError("all weights are 0; set quality, relevance or diversity")
        return self

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each measure in force, adding up to 1; those without evidence are left out."""
        given = {"diversity": self.diversity}
        if self.good or self.model or self.scores:
            given["quality"] = self.quality
        if self.target:
            given["relevance"] = self.relevance
        total = sum(given.values())
        return {name: weight / total for name, weight in given.items() if weight}
