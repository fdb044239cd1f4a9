"""Which of the faults that pydantic found in a request is told, and by what name."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

Path = tuple[int | str, ...]


def told(error: ValidationError, given: Any) -> tuple[Path, str, str]:
    """(where, kind, message) of one fault, that which most likely makes the others: a wrong `type`, then a field that
    is unknown, else of the first field at fault the part that is deepest. given: what was validated.

    Of a field of several kinds pydantic finds as many faults as there are kinds, and names the kind in the path: that
    is no part of the request, and left out.
    """
    found = [(_in_request(fault["loc"], fault["type"], given), fault) for fault in error.errors(include_url=False)]
    first = found[0][0][:1]

    def rank(one: tuple[Path, Any]) -> tuple[bool, bool, bool, int, bool]:
        path, fault = one
        kind = fault["type"]
        wrong_type = kind in ("union_tag_invalid", "item_type") or (kind == "literal_error" and path[-1:] == ("type",))
        return wrong_type, kind == "extra_forbidden", path[:1] == first, len(path), not kind.endswith("_type")

    path, fault = max(found, key=rank)
    return path, fault["type"], fault["msg"].removeprefix("Value error, ")


def _in_request(where: Path, kind: str, given: Any) -> Path:
    """The path without what is not there; a field that is missing is its end."""
    path, at = list[int | str](), given
    for place, part in enumerate(where):
        if isinstance(at, list) and isinstance(part, int) and part < len(at):
            at = at[part]
        elif isinstance(at, dict) and part in at:
            at = at[part]
        elif not (kind == "missing" and place == len(where) - 1):
            continue
        path.append(part)
    return tuple(path)
