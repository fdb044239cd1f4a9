"""What a request may say without asking for anything.

One rule: what asks for nothing is honoured by doing nothing; what would act and cannot is refused by name. A `null`
asks for nothing, whatever the field. Of the fields of OpenAI's API that are not served here, the tables hold the values
that ask for what is done anyway; a type stands for all values of it, where a field is only a note to whoever runs the
server. A field that a request declares is no concern of the tables: it acts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Table = Mapping[str, tuple[Any, ...]]

REQUEST: Table = {
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("auto", "none"),
    "function_call": ("auto", "none"),
    "parallel_tool_calls": (True, False),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "modalities": (["text"],),
    "store": (False,),
    "service_tier": ("auto", "default"),
    "echo": (False,),
    "best_of": (1,),
    "suffix": ("",),
    "verbosity": ("medium",),
    "reasoning_effort": (),
    "prediction": (),
    "web_search_options": (),
    "audio": (),
    "prompt_cache_retention": (),
    "user": (str,),
    "metadata": (dict,),
    "safety_identifier": (str,),
    "prompt_cache_key": (str,),
}
MESSAGE: Table = {
    "refusal": ("",),
    "annotations": ([],),
    "tool_calls": ([],),
    "reasoning_content": ("",),
}
STREAM_OPTIONS: Table = {"include_obfuscation": (False,)}


def without_neutral(given: Any, declared: Mapping[str, Any], table: Table) -> Any:
    """An object without the fields that ask for nothing. What is no object, and what is declared, stays as it is."""
    if not isinstance(given, dict):
        return given
    return {
        name: value
        for name, value in given.items()
        if name in declared or not (value is None or any(_is(value, one) for one in table.get(name, ())))
    }


def taken(name: str, table: Table) -> str:
    """What is taken of a field of a table, in words."""
    kinds: dict[type, str] = {str: "any string", dict: "any object", list: "any list"}
    values = [kinds[one] if isinstance(one, type) else json.dumps(one) for one in table[name]]
    only = " or ".join([*values, "null"])
    return f"{name}: this server does nothing of the kind and takes only {only}, which asks for nothing"


def _is(value: Any, neutral: Any) -> bool:
    if isinstance(neutral, type):
        return isinstance(value, neutral)
    # False is no number here, and 1 no truth value.
    return isinstance(value, bool) == isinstance(neutral, bool) and value == neutral


def described(table: Table, declared: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a table as properties of a JSON schema."""
    kinds: dict[type, dict[str, str]] = {str: {"type": "string"}, dict: {"type": "object"}, list: {"type": "array"}}
    return {
        name: {
            "anyOf": [*(kinds[one] if isinstance(one, type) else {"const": one} for one in values), {"type": "null"}],
            "description": "Asks for nothing with these values; any other is refused.",
        }
        for name, values in table.items()
        if name not in declared
    }
