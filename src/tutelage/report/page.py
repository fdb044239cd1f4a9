"""A page of blocks in the style of the report: one self-contained HTML file, no script, no external resources."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tutelage.report.draw import drawn
from tutelage.store.blocks import Block

Section = tuple[str, Iterable[Block | None]]


def environment() -> Any:
    """The templates of this room, with autoescape: text of models and documents is never trusted."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("tutelage.report", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip


def page(title: str, kicker: str, lead: str, sections: Sequence[Section], refresh: int = 0) -> str:
    """The page as HTML text; sections without blocks are left out. refresh: seconds after which the page reloads;
    0: never."""
    made = [
        {"id": f"s{number}", "title": name, "blocks": drawn(blocks)} for number, (name, blocks) in enumerate(sections)
    ]
    shown = [section for section in made if section["blocks"]]
    return str(
        environment().get_template("page.html.jinja").render(
            title=title, kicker=kicker, lead=lead, sections=shown, refresh=refresh
        )
    )  # fmt: skip
