"""Answers that are errors, and which of the faults that pydantic found in a request is told."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

Path = tuple[int | str, ...]
MOST = 1000  # faults that are looked at: a long list of wrong things has one each


class ApiError(Exception):
    """An answer that is an error, in the shape that OpenAI clients know.

    code of a 400: "unsupported_field", "invalid_request" for what the schema of the API does not allow, and for what
    only a rule beyond it does not, "invalid_value" or a name of its own.
    """

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 503: "overloaded_error"}
        code = code or ("invalid_value" if status == 400 else None)
        kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
        self.status = status
        # Who is turned away for want of room is told when to come again.
        self.headers = {"Retry-After": "1"} if status in (429, 503) else {}
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


def told(error: ValidationError, given: Any) -> tuple[Path, str, str]:
    """(where, kind, message) of one fault, that which most likely makes the others: a wrong `type`, then a field that
    is unknown, else of the first field at fault the part that is deepest. given: what was validated.

    Of a field of several kinds pydantic finds as many faults as there are kinds, and names the kind in the path: that
    is no part of the request, and left out.
    """
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    found = [(_in_request(fault["loc"], fault["type"], given), fault) for fault in faults[:MOST]]
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
        if isinstance(at, dict) and part in at:
            at = at[part]
        elif isinstance(at, list) and isinstance(part, int) and part < len(at):
            at = at[int(part)]
        elif not (kind == "missing" and place == len(where) - 1):
            continue
        path.append(part)
    return tuple(path)
