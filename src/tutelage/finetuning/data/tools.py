"""Tools in the layouts people have, as chat templates read them: definitions, calls, what a tool gave back.

A definition is {"type": "function", "function": {"name", "description", "parameters"}}; a call is {"type": "function",
"function": {"name", "arguments"}} with arguments as an object (and "id" where it has one), however the file holds them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tutelage.finetuning.data.fields import is_empty
from tutelage.store.written import written

Tool = dict[str, Any]


def tools_of(value: Any) -> list[Tool]:
    """Definitions: a list of them, alone or as JSON text; a function may stand without the object around it.

    Raises ValueError where one has no name.
    """
    value = parsed(value)
    if is_empty(value):
        return []
    given = value if isinstance(value, list) else [value]
    found = []
    for one in given:
        function = one.get("function", one) if isinstance(one, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
            raise ValueError("a tool has no name")
        found.append({"type": "function", "function": _filled(function)})
    return found


def calls_of(message: Mapping[str, Any], said: Any = None) -> list[Tool]:
    """The calls of a message: `tool_calls`, the older `function_call`, or the text `said` of a turn that is one.

    Raises ValueError where a call has no name, or arguments that are no object.
    """
    given = parsed(message.get("tool_calls"))
    if is_empty(given):
        given = parsed(message.get("function_call") if said is None else said)
    if is_empty(given):
        if said is not None:
            raise ValueError("a tool call is empty")
        return []
    return [_call(one) for one in (given if isinstance(given, list) else [given])]


def _call(one: Any) -> Tool:
    function = one.get("function", one) if isinstance(one, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise ValueError("a tool call is no object with a name")
    arguments = parsed(function.get("arguments", function.get("parameters")))
    arguments = {} if is_empty(arguments) else arguments
    if not isinstance(arguments, dict):
        raise ValueError("the arguments of a tool call are no object")
    call: Tool = {"type": "function", "function": {"name": function["name"], "arguments": arguments}}
    return {"id": str(one["id"]), **call} if one.get("id") else call


def result_text(value: Any) -> str:
    """What a tool gave back, as text; objects as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def calls_text(turn: Mapping[str, Any]) -> str:
    """What an answer says with its calls, for where it is shown or compared: each call as a line of JSON."""
    calls = [json.dumps(call["function"], ensure_ascii=False) for call in turn.get("tool_calls", ())]
    return "\n".join([*([turn["content"]] if turn["content"] else []), *calls])


def _filled(value: Any) -> Any:
    """Without the keys that a Parquet file fills with nothing."""
    if isinstance(value, dict):
        return {key: _filled(item) for key, item in value.items() if item is not None}
    return [_filled(item) for item in value] if isinstance(value, list) else value


def parsed(value: Any) -> Any:
    """A list or object that a table, a Parquet file or another JSON holds as text."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    found = written(value)
    return value if found is None else found
