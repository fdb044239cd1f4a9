"""The Jinja environment of chat templates, as transformers has it; light to import, used in a process of its own."""

from __future__ import annotations

import json
from datetime import date
from functools import lru_cache
from typing import Any

import jinja2
import jinja2.meta
import jinja2.nodes
import jinja2.sandbox
from jinja2.ext import Extension
from jinja2.parser import Parser

LONGEST = 8_000_000  # characters of a rendered conversation


def render(template: str, variables: dict[str, Any], today: str) -> tuple[bool, str]:
    """(True, the rendered text) or (False, why not). `today`: the date in ISO format that `strftime_now` tells."""
    try:
        compiled = _compiled(template)
        rendered = compiled.render(**variables, strftime_now=date.fromisoformat(today).strftime)
    except jinja2.TemplateSyntaxError as error:
        return False, f"the chat template is faulty: line {error.lineno}: {error.message}"
    except RecursionError:
        return False, "the chat template is nested without end"
    except (MemoryError, OverflowError):
        return False, "the chat template asks for more memory than it may have"
    except (jinja2.TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        return False, f"the chat template refuses these messages: {error}"
    if len(rendered) > LONGEST:
        return False, "the chat template asks for more memory than it may have"
    return True, rendered


@lru_cache(maxsize=64)
def variables_of(template: str) -> frozenset[str]:
    """The names that a template looks up; none of a template that is faulty."""
    try:
        return frozenset(jinja2.meta.find_undeclared_variables(_environment().parse(template)))
    except (jinja2.TemplateError, RecursionError):
        return frozenset()


@lru_cache(maxsize=64)
def _compiled(template: str) -> jinja2.Template:
    return _environment().from_string(template)


def _environment() -> jinja2.Environment:
    """A sandbox that can neither reach Python nor change what it is given."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    return environment


class _Generation(Extension):
    """`{% generation %}`, with which some templates mark what is trained; rendered as if not there."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> jinja2.nodes.Node | list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)
