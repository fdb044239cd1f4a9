"""The `tutelage` command: verbs, and what becomes of errors."""

from __future__ import annotations

import sys
import traceback
from typing import Any

import typer

from tutelage.cli import inspect, life, stages, use
from tutelage.store.errors import TutelageError, nearest

app = typer.Typer(
    name="tutelage",
    help="Raise a language model: from a folder of text to a model that is talked to, served and exported.\n\n"
    "Start with `tutelage quickstart`; every stage of it is a verb of its own.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

life.register(app)
stages.register(app)
use.register(app)
inspect.register(app)


def main(arguments: list[str] | None = None) -> None:
    """Entry point. Exit codes: 0 done, 1 failed at run time, 2 wrong key, value or usage, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        code = app(arguments, standalone_mode=False)
    except TutelageError as error:
        _say(f"error: {error.message}", f"hint: {error.hint}" if error.hint else "")
        code = error.exit_code
        if debug:
            traceback.print_exc()
    except KeyboardInterrupt:
        _say("error: stopped", "hint: run the same command again to go on")
        code = 130
    except BrokenPipeError:
        code = 1
    except Exception as error:
        if hasattr(error, "format_message"):  # wrong usage: typer may bring click's errors under its own name
            _say(f"error: {error.format_message()}" if error.format_message() else "", _usage_hint(error))
            sys.exit(2)
        if type(error).__name__ == "Abort":  # Ctrl-C outside training, as the parser passes it on
            _say("error: stopped", "hint: run the same command again to go on")
            sys.exit(130)
        if debug:
            traceback.print_exc()
        _say(f"error: {type(error).__name__}: {error}", "" if debug else "hint: run with --debug for the traceback")
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _say(*lines: str) -> None:
    for line in lines:
        if line:
            print(line, file=sys.stderr)


def _usage_hint(error: Any) -> str:
    """The nearest option, where one was not known; the parser itself names the nearest verb."""
    wrong, context = getattr(error, "option_name", None), getattr(error, "ctx", None)
    if not wrong or context is None:
        return ""
    options = [name for parameter in context.command.params for name in parameter.opts if name.startswith("--")]
    return f"hint: {nearest(wrong, options)}"
