"""Tools in a chat request: what may be called, and whether it must be. Plain data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tutelage.inference.calls import calls_constraint
from tutelage.inference.constraint import Constraint
from tutelage.serving import neutral
from tutelage.serving.strict import Strict
from tutelage.store.errors import InputError
from tutelage.tokenizer.call_form import CallForm, arguments_of
from tutelage.tokenizer.vocabulary import Vocabulary

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
MOST = 128  # tools of a request
_NOTHING: dict[str, Any] = {"type": "object", "properties": {}}


class CalledFunction(Strict):
    name: Name
    arguments: Annotated[str, Field(description="The JSON text of an object.")]

    @model_validator(mode="after")
    def _arguments_are_an_object(self) -> Self:
        try:
            arguments_of(self.arguments)
        except InputError as error:
            raise ValueError(error.message) from None
        return self


class ToolCall(Strict):
    """A call as an answer of ours has it."""

    asks_nothing: ClassVar[neutral.Table] = {"index": tuple(range(MOST))}

    id: str
    type: Literal["function"]
    function: CalledFunction

    def plain(self) -> dict[str, Any]:
        """As chat templates read it."""
        called = {"name": self.function.name, "arguments": arguments_of(self.function.arguments)}
        return {"id": self.id, "type": "function", "function": called}


class Function(Strict):
    name: Name
    description: str | None = None
    parameters: Annotated[dict[str, Any], Field(description="A JSON schema of an object.")] | None = None
    strict: bool | None = Field(
        None, description="Arguments are held to the schema, also where a call is not required."
    )

    @model_validator(mode="after")
    def _arguments_are_an_object(self) -> Self:
        if self.parameters and self.parameters.get("type", "object") != "object":
            raise ValueError("parameters must be the schema of an object")
        return self

    @property
    def arguments_schema(self) -> dict[str, Any]:
        """Of the arguments, which are an object whether it says so or not."""
        return {"type": "object", **(self.parameters or _NOTHING)}


class Tool(Strict):
    type: Literal["function"]
    function: Function

    def plain(self) -> dict[str, Any]:
        """As chat templates read it."""
        one = self.function
        more = {"description": one.description} if one.description is not None else {}
        return {"type": "function", "function": {"name": one.name, **more, "parameters": one.parameters or _NOTHING}}


class NamedFunction(Strict):
    name: Name


class NamedChoice(Strict):
    type: Literal["function"]
    function: NamedFunction


Choice = Literal["none", "auto", "required"] | NamedChoice


def constraint_of(
    tools: Sequence[Tool], choice: Choice | None, parallel: bool | None, form: CallForm, tok: Vocabulary
) -> Constraint | None:
    """What the answer is held to: a call where one is required; where it may come and is to be strict, or one only,
    that. None where the model is free."""
    wanted = {one.function.name: one.function.arguments_schema for one in tools}
    if isinstance(choice, NamedChoice):
        name = choice.function.name
        return calls_constraint(form, tok, {name: wanted[name]}, "required", one=True)
    one_only = parallel is False
    if choice == "required":
        return calls_constraint(form, tok, wanted, "required", one_only)
    if one_only or any(one.function.strict for one in tools):
        return calls_constraint(form, tok, wanted, "auto", one_only)
    return None
