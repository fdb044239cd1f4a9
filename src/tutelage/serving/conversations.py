"""Conversations as the model reads them: what beside the texts a chat template must know, or it is refused by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tutelage.inference.language_model import LanguageModel
from tutelage.serving.faults import ApiError
from tutelage.serving.protocol import Effort
from tutelage.tokenizer.calls import Tools, name_of
from tutelage.tokenizer.jinja import variables_of
from tutelage.tokenizer.messages import Message


def conversation_ids(
    lm: LanguageModel,
    turns: Sequence[Message],
    tools: Tools | None = None,
    effort: Effort | None = None,
    effort_field: str = "reasoning_effort",
) -> list[int]:
    """The ids of a conversation. Raises ApiError for names that the template does not show, and for an effort that it
    does not know."""
    options = _effort_options(lm.tokenizer.chat_template or "", effort, effort_field)
    ids = lm.chat_ids(turns, tools, options)
    for role in dict.fromkeys(turn.role for turn in turns if turn.name):
        nameless = [replace(turn, name="") if turn.role == role else turn for turn in turns]
        if lm.chat_ids(nameless, tools, options) == ids:
            _refuse_names(turns, role)
    return ids


def _refuse_names(turns: Sequence[Message], role: str) -> None:
    """Raise ApiError for the first name of this role that would say something. A result of a tool may name the function
    that was called, as the call does."""
    called = {str(call.get("id", "")): name_of(call) for turn in turns for call in turn.tool_calls}
    for at, turn in enumerate(turns):
        if turn.role == role and turn.name and called.get(turn.tool_call_id) != turn.name:
            where = f"messages.{at}.name"
            said = f"the chat template of this model does not show it the name of a message of role {role}"
            raise ApiError(400, f"{where}: {said}", where)


def _effort_options(template: str, effort: Effort | None, field: str) -> Mapping[str, Any]:
    """What the template is told of how long the model is to think before it answers: by the names that templates have
    for it. Where it has none, nothing is thought before the answer, which is `none`."""
    if effort is None:
        return {}
    known = variables_of(template)
    if effort == "none":
        if "enable_thinking" in known:
            return {"enable_thinking": False}
        taken = "reasoning_effort" not in known
    else:
        taken = "reasoning_effort" in known
    if not taken:
        only = "low, medium or high" if "reasoning_effort" in known else '"none"'
        said = f"the chat template of this model takes only {only}, not {effort!r}"
        raise ApiError(400, f"{field}: {said}", field)
    thinking = {"enable_thinking": True} if "enable_thinking" in known else {}
    return {} if effort == "none" else {"reasoning_effort": effort, **thinking}
