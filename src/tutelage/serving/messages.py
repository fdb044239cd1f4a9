"""Messages of a chat request: what each role may hold. Plain data."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tutelage.serving import neutral
from tutelage.serving.strict import NULL, Strict, either
from tutelage.serving.tool_protocol import MOST, ToolCall
from tutelage.tokenizer.messages import Message


class TextPart(Strict):
    type: Literal["text"]
    text: str


_SOME: dict[str, Any] = {"type": ["string", "array"]}
_BY_ROLE = either(
    {"role": {"enum": ["system", "developer", "user"]}, "content": _SOME, "tool_calls?": NULL, "tool_call_id?": NULL},
    {"role": {"const": "assistant"}, "content": _SOME, "tool_call_id?": NULL},
    {"role": {"const": "assistant"}, "tool_calls": {"type": "array", "minItems": 1}, "tool_call_id?": NULL},
    {"role": {"const": "tool"}, "content": _SOME, "tool_calls?": NULL, "tool_call_id": {"type": "string"}},
)
"""What a message holds by its role: what `ChatMessage` checks."""


class ChatMessage(Strict):
    model_config = ConfigDict(json_schema_extra=_BY_ROLE)
    asks_nothing: ClassVar[neutral.Table] = neutral.MESSAGE

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=MOST)] | None = None
    tool_call_id: str | None = None
    # What OpenAI's API takes for a name.
    name: Annotated[str, Field(max_length=64, pattern=r"^[^\s<|\\/>]*$")] | None = None

    @model_validator(mode="after")
    def _parts_of_its_role(self) -> Self:
        if self.tool_calls and self.role != "assistant":
            raise ValueError("tool_calls are an assistant's")
        if self.content is None and not self.tool_calls:
            raise ValueError("content is missing")
        if (self.tool_call_id is not None) != (self.role == "tool"):
            raise ValueError("role tool and tool_call_id go together")
        return self

    def message(self) -> Message:
        parts = self.content or ""
        text = parts if isinstance(parts, str) else "".join(part.text for part in parts)
        role = "system" if self.role == "developer" else self.role
        return Message(
            role, text, tuple(call.plain() for call in self.tool_calls or ()), self.tool_call_id or "", self.name or ""
        )
