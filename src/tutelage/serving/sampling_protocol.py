"""How an answer is drawn, as a request says it: the fields of `Sampling` by their names, and the form of the answer.

This is the one list of them: `sampling()` hands on whatever of it `Sampling` has, the description of the API is made
from it, and the page makes its panel from that description.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tutelage.inference.constraint import Constraint
from tutelage.inference.sampling import Sampling
from tutelage.serving import neutral
from tutelage.serving.faults import ApiError
from tutelage.serving.strict import NULL, Strict, either

Text = Annotated[str, Field(min_length=1)]


class JsonSchema(Strict):
    asks_nothing: ClassVar[neutral.Table] = {"description": (str,), "strict": (True, False)}

    name: str
    schema_: Annotated[dict[str, Any] | bool, Field(alias="schema")]


class ResponseFormat(Strict):
    model_config = ConfigDict(
        json_schema_extra=either(
            {"type": {"enum": ["text", "json_object"]}, "json_schema?": NULL},
            {"type": {"const": "json_schema"}, "json_schema": {"type": "object"}},
        )
    )
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _schema_where_wanted(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("type json_schema and the field json_schema go together")
        return self

    def constraint(self) -> Constraint | None:
        if self.type == "text":
            return None
        return Constraint.json_schema({"type": "object"} if self.json_schema is None else self.json_schema.schema_)


def _setting(says: str, **bounds: Any) -> Any:
    """A field that may be left out, and what it does, which the panel of the page shows."""
    return Field(None, description=says, json_schema_extra={"x-setting": True}, **bounds)


class SamplingFields(Strict):
    """The settings of an answer. Missing values are OpenAI's: temperature 1, as many tokens as there may be, a seed by
    chance; else those of `Sampling`."""

    temperature: float | None = _setting("0 takes the likeliest token, 1 draws as trained.", ge=0, le=2)
    top_p: float | None = _setting("Only the fewest tokens of this probability; 1 is off.", gt=0, le=1)
    top_k: int | None = _setting("Only so many of the likeliest tokens; 0 is off.", ge=0)
    min_p: float | None = _setting("Only tokens of this share of the likeliest one's; 0 is off.", ge=0, le=1)
    repetition_penalty: float | None = _setting("Divides the logits of tokens that were there; 1 is off.", gt=0, le=10)
    max_tokens: int | None = _setting("Longest answer, in tokens.", ge=1, lt=2**63)
    seed: int | None = _setting("The same seed gives the same answer.", ge=-(2**63), lt=2**63)
    stop: Text | list[Text] | None = _setting("Text at which the answer ends.")
    presence_penalty: float | None = _setting("Taken off tokens of the answer, once each.", ge=-2, le=2)
    frequency_penalty: float | None = _setting("Taken off tokens of the answer, for each time.", ge=-2, le=2)
    no_repeat_ngram: int | None = _setting("No run of so many tokens twice; 0 is off.", ge=0, le=64)
    typical_p: float | None = _setting("Only tokens about as surprising as expected; 1 is off.", gt=0, le=1)
    top_n_sigma: float | None = _setting("Only tokens so many deviations from the best; 0 is off.", ge=0, le=100)
    dry_multiplier: float | None = _setting("DRY: penalises going on with a repetition; 0 is off.", ge=0, le=100)
    dry_base: float | None = _setting("How the penalty of DRY grows with the length.", ge=1, le=100)
    dry_allowed_length: int | None = _setting("What DRY lets repeat, in tokens.", ge=1, le=4096)
    dry_breakers: list[Text] | None = _setting("Text across which DRY does not look.", max_length=32)
    xtc_probability: float | None = _setting("How often the likeliest tokens are left out; 0 is off.", ge=0, le=1)
    xtc_threshold: float | None = _setting("What XTC takes for likely.", gt=0, le=1)
    mirostat_tau: float | None = _setting("Bits of surprise held for each token; 0 is off.", ge=0, le=100)
    mirostat_eta: float | None = _setting("How fast mirostat adapts.", gt=0, le=1)
    min_tokens: int | None = _setting("No end before so many tokens.", ge=0)
    ignore_eos: bool | None = _setting("Never end by itself.")
    regex: Text | None = _setting("The answer matches this pattern.")
    grammar: Text | None = _setting("The answer is of this grammar, in Lark's notation.")
    stop_ids: Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=16)] | None = None
    logit_bias: Annotated[dict[str, Annotated[float, Field(ge=-100, le=100)]], Field(max_length=1024)] | None = None
    response_format: ResponseFormat | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        return () if self.stop is None else (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    def sampling(self, most_tokens: int) -> Sampling:
        """The same as `Sampling`, of at most so many tokens. Raises ApiError, ConfigError for what makes no sense."""
        given = {one.name: value for one in fields(Sampling) if (value := getattr(self, one.name, None)) is not None}
        # A seed of OpenAI's API is a signed number of 64 bits; each has a random stream of its own.
        seed = secrets.randbits(62) if self.seed is None else self.seed % 2**64
        drawn: dict[str, Any] = {"temperature": 1.0, **given, "seed": seed, "max_tokens": most_tokens}
        biases = _biases(self.logit_bias or {})
        return Sampling(**{**drawn, "stop": self.stops, "logit_bias": biases, "constraint": self._constraint()})

    @property
    def form(self) -> str | None:
        """The field that says what the answer must look like."""
        return next((name for name in ("response_format", "regex", "grammar") if getattr(self, name)), None)

    def _constraint(self) -> Constraint | None:
        given = [name for name in ("response_format", "regex", "grammar") if getattr(self, name)]
        wanted = self.response_format.constraint() if self.response_format else None
        if self.response_format and wanted is None:
            given.remove("response_format")
        if len(given) > 1:
            raise ApiError(400, f"give either {given[0]} or {given[1]}", given[1])
        if self.regex:
            return Constraint.regex(self.regex)
        return Constraint.grammar(self.grammar) if self.grammar else wanted


def _biases(given: Mapping[str, float]) -> dict[int, float]:
    for name in given:
        if not re.fullmatch("0|[1-9][0-9]{0,8}", name):  # "007" beside "7" would be a second bias of one token
            raise ApiError(400, f"logit_bias: {name[:40]!r} is no token id", "logit_bias")
    return {int(name): bias for name, bias in given.items()}
