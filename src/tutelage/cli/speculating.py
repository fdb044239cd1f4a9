"""The options of speculative decoding, for the verbs that generate: faster, with the same answer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tutelage.cli.options import open_model
from tutelage.store.errors import ConfigError, nearest

if TYPE_CHECKING:
    from tutelage.inference.language_model import LanguageModel

HOW = ("lookup",)
Speculate = Annotated[
    str | None,
    typer.Option(
        "--speculate",
        help="Speculative decoding by `lookup` of the last tokens in the text so far: the same answer, faster if it "
        "repeats its prompt (edits, summaries, code).",
    ),
]
Draft = Annotated[
    str | None,
    typer.Option(
        "--draft",
        metavar="MODEL",
        help="Speculative decoding with a smaller model of the same vocabulary: the same answer, faster; named as "
        "with --model.",
    ),
]


def set_up(lm: LanguageModel, speculate: str | None, draft: str | None, out: Path, weights: str) -> None:
    """Turn on speculation for a model and its adapters. A model that does not support it goes without, with a
    message."""
    from tutelage.inference.speculation import cannot

    if speculate is not None and speculate not in HOW:
        raise ConfigError(f"--speculate {speculate!r} is not known", hint=nearest(speculate, HOW))
    if speculate is not None and draft is not None:
        raise ConfigError("--speculate and --draft exclude each other: drafts come from one source")
    if speculate is None and draft is None:
        return
    if (reason := cannot(lm.config)) is not None:
        print(f"this model does not support speculation: {reason}", file=sys.stderr)
        return
    small = None if draft is None else open_model(draft, out, weights=weights)
    for one in (lm, *lm.adapters.values()):
        one.speculate(small)


def drafts(lm: LanguageModel) -> dict[str, Any]:
    """Counts of drafted and accepted tokens so far, for JSON; empty without speculation."""
    found = lm.speculation
    return {} if found is None else {"drafts": {"drafted": found.drafted, "accepted": found.accepted}}


def drafts_line(lm: LanguageModel) -> str:
    """The same in words; empty without speculation."""
    found = lm.speculation
    return "" if found is None else f"{found.accepted} of {found.drafted} drafted tokens were right"
