"""The base of every typed config: frozen, no unknown keys, errors that name the nearest match."""

from __future__ import annotations

from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator, model_validator

from tutelage.store.errors import ConfigError, nearest


class Config(BaseModel):
    """A frozen, validated, nestable config. Unknown keys are errors, not shrugs.

    A partial section keeps the defaults of its parent for the other keys.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _complete_sections(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        completed = dict(given)
        for name, value in given.items():
            field = cls.model_fields.get(name)
            if isinstance(value, dict) and field and isinstance(field.default, Config):
                completed[name] = field.default.completed(value)
        return completed

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML reads `yes`, `on` and `true` alike; none of them is the number 1."""
        if isinstance(value, bool) and info.field_name in cls.model_fields:
            annotation = cls.model_fields[info.field_name].annotation
            kinds = set(get_args(annotation) or (annotation,)) - {type(None)}
            if kinds <= {int, float}:
                raise ValueError(f"input should be a number, got {'true' if value else 'false'}")
        return value

    def completed(self, given: dict[str, Any]) -> dict[str, Any]:
        """The given keys, completed by the values of this section."""
        return _merged(self.plain(), given)

    def with_(self, **changes: Any) -> Self:
        """The same config with some fields changed, validated as a whole. Raises ConfigError."""
        return self.parse(self.completed(changes))

    @classmethod
    def parse(cls, data: Any, where: str = "") -> Self:
        """Validate plain data. Raises ConfigError naming the key, the allowed values and the nearest match."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise _as_config_error(error, cls, where) from None

    def plain(self) -> dict[str, Any]:
        """JSON-ready dict of every field, defaults included."""
        return self.model_dump(mode="json")


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        result[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def _as_config_error(error: ValidationError, root: type[BaseModel], where: str) -> ConfigError:
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    key = ".".join(([where] if where else []) + path) or root.__name__
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return ConfigError(f"unknown key {key!r}{more}", hint=nearest(path[-1], _fields_at(root, path[:-1])))
    message = first["msg"].removeprefix("Value error, ")
    shown = "" if first["type"] in ("missing", "value_error") else f", got {first['input']!r}"
    return ConfigError(f"{key}: {message[0].lower() + message[1:]}{shown}{more}")


def _fields_at(root: type[BaseModel], path: list[str]) -> list[str]:
    """Names allowed at a dotted path below `root`."""
    current: Any = root
    for part in path:
        field = getattr(current, "model_fields", {}).get(part)
        if field is None:
            return []
        current = _model_in(field.annotation)
    return list(getattr(current, "model_fields", {}))


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_in(argument)
        if found is not None:
            return found
    return None
