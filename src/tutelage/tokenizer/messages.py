"""Messages of a conversation: plain data, validated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tutelage.store.errors import InputError, nearest

ROLES = ("system", "user", "assistant", "tool")
_OTHER_NAMES = {
    "human": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "ai": "assistant",
}


@dataclass(frozen=True)
class Message:
    """One turn of a conversation. Raises InputError for an unknown role or a content that is not text.

    tool_calls: of an assistant message, [{"type": "function", "function": {"name", "arguments"}}] with arguments as an
    object, as chat templates expect; its content may then be empty. tool_call_id, name: of a tool's result, if given.
    """

    role: str
    content: str
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    tool_call_id: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            known = _OTHER_NAMES.get(str(self.role).lower())
            hint = f"did you mean {known!r}?" if known else nearest(str(self.role), ROLES)
            raise InputError(f"unknown role {self.role!r} of a message", hint=hint)
        if not isinstance(self.content, str):
            raise InputError(
                f"content of a {self.role} message must be text, got {type(self.content).__name__}",
                hint="other content types are not supported",
            )

    def plain(self) -> dict[str, Any]:
        """As a dict for chat templates; empty fields are omitted."""
        more = {"tool_calls": list(self.tool_calls), "tool_call_id": self.tool_call_id, "name": self.name}
        return {"role": self.role, "content": self.content, **{key: value for key, value in more.items() if value}}


def message_of(turn: Mapping[str, Any]) -> Message:
    """The message of a turn in finetuning data: {"role", "content"} and optionally "tool_calls", "tool_call_id",
    "name"; other keys are ignored. Raises InputError as `Message` does."""
    more = {key: turn.get(key, "") for key in ("tool_call_id", "name")}
    return Message(turn["role"], turn["content"], tuple(turn.get("tool_calls", ())), **more)


def messages_from_plain(data: Any) -> list[Message]:
    """Messages from a list of `{"role": ..., "content": ...}`. Raises InputError naming the message."""
    if not isinstance(data, (list, tuple)):
        raise InputError(f"messages must be a list, got {type(data).__name__}")
    if not data:
        raise InputError("messages is empty", hint="give at least one message with role and content")
    return [_message_from_plain(index, item) for index, item in enumerate(data)]


def _message_from_plain(index: int, item: Any) -> Message:
    if isinstance(item, Message):
        return item
    if not isinstance(item, dict):
        raise InputError(f"messages[{index}] must be an object with role and content, got {type(item).__name__}")
    missing = [key for key in ("role", "content") if key not in item]
    if missing:
        raise InputError(f"messages[{index}] lacks {' and '.join(missing)}")
    unknown = sorted(str(key) for key in item if key not in ("role", "content"))
    if unknown:
        # Dropping a field the sender relied on would be worse than refusing it.
        raise InputError(f"messages[{index}] has unknown fields: {', '.join(unknown)}", hint="allowed: role, content")
    try:
        return Message(item["role"], item["content"])
    except InputError as error:
        raise InputError(f"messages[{index}]: {error.message}", hint=error.hint) from None
