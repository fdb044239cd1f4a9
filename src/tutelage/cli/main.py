"""The `tutelage` command: verbs, and error handling."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from tutelage.cli import (
    ablate,
    advise,
    architecture,
    bench,
    classify,
    compare,
    corpus,
    data,
    finetune,
    generate,
    inspect,
    judge,
    life,
    mcp,
    quality,
    serve,
    stages,
    talk,
    tokenizer,
    trace,
    translate,
    use,
    watch,
)
from tutelage.store.errors import TutelageError, nearest

# The base class of usage errors. Typer may bring its own copy of click, so click's own class will not do.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="tutelage",
    help="Raise a language model: from a folder of text to a model you can chat with, serve and export.\n\n"
    "Start with `tutelage quickstart`; each of its stages is also a verb. `tutelage VERB --help` explains "
    "each.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; before or after the verb.")
    ] = False,
) -> None:
    pass  # `main` removes --debug from the arguments wherever it is; here it is only documented


life.register(app)
corpus.register(app)
stages.register(app)
tokenizer.register(app)
bench.register(app)
finetune.register(app)
data.register(app)
talk.register(app)
translate.register(app)
use.register(app)
generate.register(app)
serve.register(app)
classify.register(app)
architecture.register(app)
compare.register(app)
ablate.register(app)
judge.register(app)
quality.register(app)
inspect.register(app)
advise.register(app)
watch.register(app)
trace.register(app)
mcp.register(app)


def main(arguments: list[str] | None = None) -> None:
    """Entry point. Exit codes: 0 done, 1 failed at run time, 2 wrong key, value or usage, 130/143 interrupted;
    of `compare` 3 for a regression and 4 for too few items, of `ablate` 3 for nothing better, 4 for too few seeds."""
    arguments, debug = _without_debug(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(arguments or ["--help"], prog_name="tutelage", standalone_mode=False)
        sys.stdout.flush()
        if code == 130:  # typer makes this of a KeyboardInterrupt, and says nothing
            raise KeyboardInterrupt
    except TutelageError as error:
        if debug:
            traceback.print_exc()
        _say(f"error: {error.message}", f"hint: {error.hint}" if error.hint else "")
        code = error.exit_code
    except UsageError as error:
        _say(f"error: {_message(error)}", _hint(error, arguments))
        code = 2
    except (KeyboardInterrupt, typer.Abort):
        _say("error: stopped", "hint: run the same command again to resume")
        code = 130
    except BrokenPipeError:  # the reader is gone (`| head`); print nothing more, not even in the last flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except (PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError) as error:
        if debug:
            traceback.print_exc()
        where = f"{error.filename}: " if error.filename else ""
        _say(
            f"error: {where}{error.strerror}", "hint: choose another file or folder (often --out), or change its rights"
        )
        code = 1
    except Exception as error:
        if debug:
            traceback.print_exc()
        what = " ".join(f"{type(error).__name__}: {error}".split())
        _say(f"error: {what}", "" if debug else "hint: run with --debug for the traceback")
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _without_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """The arguments without --debug (up to a `--`, after which all is text), and whether it was there."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [argument for argument in arguments[:end] if argument != "--debug"]
    return kept + arguments[end:], len(kept) < end


def _say(*lines: str) -> None:
    for line in lines:
        if line:
            print(line, file=sys.stderr)


def _message(error: Any) -> str:
    message = " ".join(error.format_message().split())
    return message.replace("Value error, ", "").split(" (Possible options")[0].split(" Did you mean")[0]


def _hint(error: Any, arguments: list[str]) -> str:
    """The nearest option or verb for one that does not exist, else where to look."""
    context = getattr(error, "ctx", None)
    if "No such option" in error.format_message():
        names = {name for parameter in (context.command.params if context else []) for name in parameter.opts}
        names = {name for name in names if name.startswith("--")} | {"--help", "--debug"}
        return f"hint: {nearest(error.option_name, names)}"
    if "No such command" in error.format_message():
        if context and context.parent is not None:  # within a group of verbs
            return _hint_within(context, error.format_message().split("'")[1])
        verbs = [command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands]
        verbs += [str(group.typer_instance.info.name) for group in app.registered_groups if group.typer_instance]
        return f"hint: {nearest(next((word for word in arguments if not word.startswith('-')), ''), verbs)}"
    return f"hint: {context.command_path} --help" if context else ""


def _hint_within(context: Any, word: str) -> str:
    """For a word after a verb that has verbs of its own: the nearest of them, or the option that takes a path."""
    options = [name for parameter in context.command.params for name in parameter.opts]
    if "--source" in options and (os.path.sep in word or Path(word).exists()):
        return f"hint: {context.command_path} --source {word}"
    return f"hint: {nearest(word, context.command.commands)}"
