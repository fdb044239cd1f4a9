"""What every part of a request is: typed, and without fields that would be ignored."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from tutelage.serving import neutral

NULL = {"type": "null"}


def either(*cases: dict[str, Any]) -> dict[str, Any]:
    """A JSON schema of objects of which one of these cases holds: fields and the schema of each, required but for those
    whose name ends in "?"."""
    return {
        "anyOf": [
            {
                "required": [name for name in case if not name.endswith("?")],
                "properties": {name.rstrip("?"): schema for name, schema in case.items()},
            }
            for case in cases
        ]
    }


class Strict(BaseModel):
    """A part of a request: no other fields, no other types, but for what is neutral."""

    model_config = ConfigDict(extra="forbid", strict=True)
    asks_nothing: ClassVar[neutral.Table] = {}

    @model_validator(mode="before")
    @classmethod
    def _without_neutral(cls, given: Any) -> Any:
        return neutral.without_neutral(given, cls.model_fields, cls.asks_nothing)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        made = handler.resolve_ref_schema(handler(core))
        made["properties"] = {**made.get("properties", {}), **neutral.described(cls.asks_nothing, cls.model_fields)}
        return made
