"""`tutelage mcp`: a server for agents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command()(mcp)


def mcp(
    root: Annotated[
        Path,
        typer.Option(
            "--root", help="The only folder that agents can access, links resolved, e.g. `--root my_project`."
        ),
    ] = Path(),
    allow_write: Annotated[
        bool,
        typer.Option("--allow-write", help="Offer `run` and `ablate`, which write into the root; fetch named models."),
    ] = False,
    max_output: Annotated[
        int, typer.Option("--max-output", min=1000, help="Most characters of a result that are passed on.")
    ] = 40_000,
) -> None:
    """Serve agents over stdio (Model Context Protocol): plan, advise, compare, evaluate, classify,
    chat, generate, inspect, and with --allow-write run and ablate.

    Every tool is the command of the same name; nothing outside the root is read or written, and no code is executed.

    Example: `tutelage mcp --root my_project --allow-write`
    """
    from tutelage.agents.server import build

    build(root, allow_write, max_output).run("stdio")
