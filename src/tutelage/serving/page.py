"""The chat page: one static file, and the policy that lets it run its own script and nothing else.

It is put together of the parts in `web/`: the page, its style, and its script in pieces that share one scope.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

SCRIPTS = ("tools", "maths", "markdown", "history", "api", "view", "trace", "page")


@cache
def _part(name: str) -> str:
    return (Path(__file__).parent / "web" / name).read_text(encoding="utf-8")


@cache
def script() -> str:
    return "".join(_part(f"{name}.js") for name in SCRIPTS)


@cache
def page() -> str:
    """The whole page."""
    whole = _part("page.html").replace("/* page.css */", _part("page.css"))
    return whole.replace("/* page.js */", script())


def _digest(content: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() + "'"


PAGE_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src {_digest(script())}; style-src {_digest(_part('page.css'))}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
