"""Output constraints: a JSON schema, a regular expression, a grammar, or a list of texts.

`Constraint` is the setting in `Sampling`; `grammar.py` computes the mask of allowed tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tutelage.store.errors import ConfigError

LONGEST = 200_000
"""Maximum characters of a constraint; longer ones would take seconds to compile."""

WHITE_SPACE = r"[ \n\t]{0,20}"
"""White space allowed between JSON tokens: enough for indentation, but bounded so that it cannot fill the answer."""

JSON_OPTIONS = {"whitespace_pattern": WHITE_SPACE}
"""Of llguidance, for the JSON schemas in a grammar of ours."""

NAMED = "x-named"
"""Key of such a schema: what an error calls it by."""

ConstraintKind = Literal["json_schema", "regex", "grammar", "choices"]


@dataclass(frozen=True)
class Constraint:
    """An output constraint, created by one of the class methods. Raises ConfigError if it is invalid.

    text: the JSON text of a schema, a regular expression (whole answer; Rust's syntax), a grammar in Lark's notation
    with a rule `start`, or the JSON text of a list of the texts allowed.
    """

    kind: ConstraintKind
    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text.strip():
            raise ConfigError(f"the {self.kind} of a constraint is empty")
        if len(self.text) > LONGEST:
            raise ConfigError(f"the {self.kind} has {len(self.text)} characters, at most {LONGEST} are allowed")
        if self.kind in ("json_schema", "choices"):
            try:
                data = json.loads(self.text)
            except (ValueError, RecursionError) as error:
                raise ConfigError(f"the {self.kind} is not valid JSON: {error}") from None
            if self.kind == "json_schema" and not isinstance(data, dict | bool):
                raise ConfigError(f"a JSON schema must be an object, got {type(data).__name__}")
            if self.kind == "choices" and not (data and all(isinstance(one, str) and one for one in data)):
                raise ConfigError("the choices must be a non-empty list of non-empty texts")

    @classmethod
    def json_schema(cls, schema: Mapping[str, Any] | bool | str) -> Constraint:
        """JSON that matches the schema (an object, or its text)."""
        return cls("json_schema", schema if isinstance(schema, str) else json.dumps(schema))

    @classmethod
    def regex(cls, pattern: str) -> Constraint:
        """Text that the pattern matches in full; `\\d` and `\\w` are ASCII, as in patterns of JSON schemas."""
        return cls("regex", pattern)

    @classmethod
    def grammar(cls, lark: str) -> Constraint:
        """Text that the rule `start` of a grammar in Lark's notation derives."""
        return cls("grammar", lark)

    @classmethod
    def choices(cls, texts: Sequence[str]) -> Constraint:
        """One of the texts."""
        return cls("choices", json.dumps(list(texts)))
