"""The real command line with verbs that only note what they were given: whether a documented command can be typed."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import typer

from documented import PAGES, Command, commands
from tutelage.ablation.arms import parse_vary
from tutelage.cli.main import UsageError, app
from tutelage.finetuning import method_names
from tutelage.recipe.config import Recipe, load_recipe
from tutelage.store.errors import ConfigError

VERBS = frozenset(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
PLACEHOLDER = re.compile(r"[A-Z]+|a\.b(\.c)?")  # of a key: `--set a.b=value`, `--vary KEY=A,B`
NUMBER = re.compile(r"(^|=)[A-Z]$")  # stands for one: `--hours H`
MODEL = re.compile(r"RUN|MODEL|BASE|BEFORE|AFTER|[A-Z]|smollm2|runs/.*")  # stands for some model or run


@cache
def command_line(whole: bool) -> tuple[Any, list[tuple[str, dict[str, Any]]]]:
    """The real parser with verbs that only note their name and parameters; what must be given may be left out unless
    the command is a `whole` one."""
    group, noted = typer.main.get_command(app), list[tuple[str, dict[str, Any]]]()
    pending: list[tuple[str, Any]] = [("", group)]
    while pending:
        name, command = pending.pop()
        command.callback = lambda *_, _name=name, **given: noted.append((_name, given))
        for parameter in command.params:
            parameter.required = parameter.required and whole
        command.invoke_without_command = getattr(command, "invoke_without_command", False) or not whole
        pending += getattr(command, "commands", {}).items()
    return group, noted


def parsed(arguments: tuple[str, ...], whole: bool) -> tuple[str, dict[str, Any]]:
    """The verb and what it would be given. Raises UsageError, as typing it would."""
    group, noted = command_line(whole)
    noted.clear()
    words = ["plan" if word == "VERB" else NUMBER.sub(r"\g<1>4096", word) for word in arguments if word != "--help"]
    group(words or ["version"], prog_name="tutelage", standalone_mode=False)
    return noted[-1]


def wrong(command: Command) -> str | None:
    """Why a command cannot be typed, if so."""
    try:
        verb, given = parsed(command.arguments, command.whole and "--help" not in command.arguments)
        step = given["method"] if verb == "finetune" and given.get("data") else None
        settings = list(given.get("sets") or ())
        for varied in map(parse_vary, given.get("vary") or ()):
            settings += [f"{varied.key}={value}" for value in varied.values]
        for item in settings:
            check_setting(item, [step] if step in method_names() else method_names())
    except (UsageError, ConfigError) as error:
        named = not command.whole and getattr(error, "option_name", None) == command.arguments[-1]
        return None if named and "requires an argument" in str(error) else f"{command}: {error}"
    return None


def check_setting(item: str, methods: Any) -> None:
    """Raises ConfigError unless a recipe, or a step by one of the methods, takes this `key=value`."""
    key = item.partition("=")[0]
    first, *more = key.split(".")
    if PLACEHOLDER.fullmatch(key):
        return
    if first in Recipe.model_fields and not (first == "finetune" and len(more) > 1):
        load_recipe(None, [item])
        return
    step, item = (more[0], item) if first == "finetune" else ("step", f"finetune.step.{item}")
    refused: list[ConfigError] = []
    for name in [step] if step in method_names() else methods:
        try:
            load_recipe(None, [f"finetune.{step}={{method: {name}, from: base, data: rows.jsonl}}", item])
            return
        except ConfigError as error:
            refused.append(error)
    raise refused[-1]


def runnable(verbs: tuple[str, ...], model: str) -> list[tuple[str, ...]]:
    """Documented commands of these verbs that can be typed as they are where `model` stands for every model and run."""
    found = dict[tuple[str, ...], None]()
    for command in (command for page in PAGES for command in commands(page, VERBS)):
        verb, *rest = command.arguments or ("",)
        words = (verb, *(model if MODEL.fullmatch(word) else word for word in rest))
        if verb in verbs and "-" not in words and not wrong(Command(command.piece, words, whole=True)):
            found[words] = None
    return list(found)
