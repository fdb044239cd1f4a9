"""POST /v1/completions: texts or ids that are continued as they are. Plain data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tutelage.serving.protocol import STREAMED, Ids, Limits, Request, at_most
from tutelage.serving.strict import either

_ECHOED = either({"echo": {"const": True}}, {"max_tokens?": {"not": {"const": 0}}})


class CompletionRequest(Request):
    """POST /v1/completions: texts or ids, continued as they are; with echo and max_tokens 0 only scored."""

    model_config = ConfigDict(json_schema_extra={"allOf": [STREAMED, _ECHOED]})

    prompt: str | Ids | Annotated[list[str], Field(min_length=1)] | Annotated[list[Ids], Field(min_length=1)] = Field(
        description="One or several; the choices of the first come first."
    )
    # As in every request, but for 0.
    max_tokens: Annotated[int, Field(ge=0, lt=2**63)] | None = Field(
        None, description="0 only with echo: nothing is made."
    )
    logprobs: Annotated[int, Field(ge=0, le=5)] | Literal[False] | None = Field(
        None, description="With so many alternatives of each token."
    )
    echo: bool | None = Field(None, description="The prompt before its answer; with logprobs, those of its tokens too.")
    best_of: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Make so many, give the n of the highest mean log-probability of a token."
    )

    @property
    def prompts(self) -> Sequence[str | list[int]]:
        """What is to be continued, one by one."""
        given = self.prompt
        if isinstance(given, str) or isinstance(given[0], int):
            return [given]  # type: ignore[return-value]
        return given  # type: ignore[return-value]

    @property
    def made(self) -> int:
        """Answers that are made of each prompt, of which `choices` are given."""
        return max(self.choices, self.best_of or 1)

    @property
    def wants_logprobs(self) -> bool:
        return self.logprobs is not None and self.logprobs is not False

    def check_limits(self, limits: Limits) -> None:
        super().check_limits(limits)
        at_most("prompt", len(self.prompts), limits.prompts, "prompts")
        at_most("best_of", self.made, limits.choices, "choices")

    @model_validator(mode="after")
    def _fields_that_go_together(self) -> Self:
        if self.max_tokens == 0 and not self.echo:
            raise ValueError("max_tokens 0 makes nothing: it goes with echo: true")
        if self.best_of is not None and self.best_of < self.choices:
            raise ValueError(f"best_of {self.best_of} is less than n, which is {self.choices}")
        if self.stream and self.made > self.choices:
            raise ValueError("best_of above n cannot be streamed: the best is known at the end")
        return self
