"""The `tutelage` command: verbs, and what becomes of errors."""

from __future__ import annotations

import sys
import traceback

import click
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
    except click.NoSuchOption as error:
        _say(f"error: no such option {error.option_name}", _option_hint(error))
        code = 2
    except click.ClickException as error:
        _say(f"error: {error.format_message()}", _command_hint(error, arguments))
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _say("error: stopped", "hint: run the same command again to go on")
        code = 130
    except BrokenPipeError:
        code = 1
    except Exception as error:
        if debug:
            traceback.print_exc()
        _say(f"error: {type(error).__name__}: {error}", "" if debug else "hint: run with --debug for the traceback")
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _say(*lines: str) -> None:
    for line in lines:
        if line:
            print(line, file=sys.stderr)


def _option_hint(error: click.NoSuchOption) -> str:
    options = [name for parameter in (error.ctx.command.params if error.ctx else []) for name in parameter.opts]
    names = [name for name in options if name.startswith("--")]
    return f"hint: {nearest(error.option_name, names)}" if names else ""


def _command_hint(error: click.ClickException, arguments: list[str]) -> str:
    if "No such command" in error.format_message() and "Did you mean" not in error.format_message():
        verbs = [info.name or "" for info in app.registered_commands] + [g.name or "" for g in app.registered_groups]
        wrong = next((argument for argument in arguments if not argument.startswith("-")), "")
        return f"hint: {nearest(wrong, verbs)}"
    return ""
