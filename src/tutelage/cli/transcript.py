"""Conversations on disk, and sampling values as typed."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import yaml

from tutelage.inference.sampling import Sampling
from tutelage.store.errors import InputError, nearest
from tutelage.store.events import plain
from tutelage.tokenizer.messages import Message, messages_from_plain


def save(file: str, messages: Sequence[Message], sampling: Sampling, own: Collection[str] = ()) -> None:
    """Write a conversation as JSON or Markdown, by the ending. Raises InputError for another ending, or for a file that
    exists and is not among `own`."""
    path = Path(file).expanduser()
    if path.suffix not in (".json", ".md"):
        raise InputError("the ending says how to save", hint="e.g. /save talk.json or /save talk.md")
    if path.suffix == ".json":
        data = {"messages": [one.plain() for one in messages], "sampling": plain(vars(sampling))}
        text = json.dumps(data, ensure_ascii=False, indent=2) + "\n"
    else:
        text = "\n\n".join(f"## {one.role}\n\n{one.content}" for one in messages) + "\n"
    try:
        with path.open("w" if file in own else "x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise InputError(f"{file} is there already", hint="choose another name") from None
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror}") from None


def load(file: str, sampling: Sampling) -> tuple[list[Message], Sampling]:
    """The messages of a conversation saved as JSON (a plain list is accepted), and its sampling: settings that the
    file does not have stay. Raises InputError, ConfigError for a sampling value that makes no sense."""
    path = Path(file).expanduser()
    if path.suffix == ".md":
        raise InputError("Markdown is for reading", hint="load the conversation from a .json file")
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file or 'a file'} cannot be read: {error.strerror}", hint="e.g. /load talk.json") from None
    except ValueError:
        raise InputError(f"{file} is not JSON", hint="load what /save wrote to a .json file") from None
    messages = messages_from_plain(data.get("messages") if isinstance(data, dict) else data)
    if not messages:
        raise InputError(f"{file} holds no messages")
    values = data.get("sampling", {}) if isinstance(data, dict) else {}
    if not isinstance(values, dict):
        raise InputError(f"{file}: sampling is not a mapping of names to values")
    for name, value in values.items():
        sampling = with_value(sampling, name, json.dumps(value))
    return messages, sampling


def with_value(sampling: Sampling, name: str, value: str) -> Sampling:
    """The sampling with one value as typed (YAML). Raises InputError for a name, ConfigError for a value."""
    names = [one.name for one in fields(sampling)]
    if name not in names:
        raise InputError(f"there is no {name!r}", hint=f"{nearest(name, names)}; /set shows all")
    if not value:
        raise InputError(f"a value of {name} is wanted", hint=f"e.g. /set {name} {getattr(sampling, name)!r}")
    try:
        given: Any = yaml.safe_load(value)
    except yaml.YAMLError:
        given = value
    if isinstance(getattr(sampling, name), tuple) and not isinstance(given, dict):
        several = given if isinstance(given, list) else [given]
        given = tuple(map(str, several) if name in ("stop", "dry_breakers") else several)
    return replace(sampling, **{name: given})
