"""Jinja templates of task files, rendered in a sandbox without access to Python and with immutable rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import jinja2
import jinja2.sandbox

from tutelage.store.errors import InputError
from tutelage.store.written import written

ROW = "_row"  # the name under which a template finds the whole row, for columns whose names are no names in Jinja


def text_of(template: str, row: Mapping[str, Any], where: str) -> str:
    """A template rendered with the columns of a row. Raises InputError, naming `where`, if it does not fit the row."""
    if "{" not in template:
        return template
    try:
        return _template(template).render({**row, ROW: row})
    except (jinja2.TemplateError, *_FAULTS) as error:
        raise _unfit(template, row, error, where) from None


def value_of(expression: str, row: Mapping[str, Any], where: str) -> Any:
    """The value of an expression over the columns of a row (`choices.text`). Raises InputError like `text_of`."""
    if expression in row:
        return row[expression]
    try:
        value = _expression(expression)({**row, ROW: row})
    except (jinja2.TemplateError, *_FAULTS) as error:
        raise _unfit(expression, row, error, where) from None
    if isinstance(value, jinja2.Undefined):
        raise _unfit(expression, row, ValueError("it is undefined"), where)
    return value


_FAULTS = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)


def check(template: str, expression: bool = False) -> None:
    """Raise ValueError for invalid Jinja syntax."""
    try:
        _expression(template) if expression else _template(template)
    except jinja2.TemplateSyntaxError as error:
        raise ValueError(f"{template!r} is not valid Jinja: {error.message}") from None


@lru_cache(maxsize=1)
def _environment() -> jinja2.sandbox.ImmutableSandboxedEnvironment:
    # As in lm-evaluation-harness: a trailing line break is kept, a missing column is an error.
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["regex_replace"] = _regex_replace
    environment.filters |= {"written": _written, "filled": _filled, "place_in": _place_in}
    environment.filters["split"] = lambda text, *arguments: text.split(*arguments)
    return environment


def _regex_replace(text: str, pattern: str, by: str = "") -> str:
    return re.sub(pattern, by, text)


def _written(value: Any) -> Any:
    """The list that a cell of a table holds as text; anything else as it is."""
    found = written(value) if isinstance(value, str) else None
    return value if found is None else found


def _filled(values: Sequence[Any]) -> list[Any]:
    """The values without those that say nothing."""
    return [value for value in values if value is not None and str(value).strip()]


def _place_in(text: Any, choices: Sequence[Any]) -> int:
    """The index of the first choice that is the text but for case and outer white space. Raises ValueError."""
    return [str(choice).strip().casefold() for choice in choices].index(str(text).strip().casefold())


@lru_cache(maxsize=512)
def _template(template: str) -> jinja2.Template:
    return _environment().from_string(template)


@lru_cache(maxsize=512)
def _expression(expression: str) -> Any:
    return _environment().compile_expression(expression, undefined_to_none=False)


def _unfit(template: str, row: Mapping[str, Any], error: Exception, where: str) -> InputError:
    return InputError(
        f"{where}: {template!r} fails on this row: {error}", hint=f"its columns are: {', '.join(map(str, row))}"
    )
