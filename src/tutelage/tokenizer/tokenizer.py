"""The tokenizer: a vocabulary with a chat template, in Hugging Face layout on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tokenizers

from tutelage.store.errors import DamagedError, InputError
from tutelage.store.files import write_atomic, write_json
from tutelage.tokenizer.chat import turn_end
from tutelage.tokenizer.vocabulary import Vocabulary, text_of

DEFINITION, SETTINGS, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"


class Tokenizer(Vocabulary):
    """Text to ids and back. Immutable after construction; may be shared between threads.

    `definition` is the text of a tokenizer.json, `settings` the content of a tokenizer_config.json,
    `chat_template` a Jinja template or None, `stop_ids` ids that end a generation besides those derived.
    Raises DamagedError if the definition cannot be read, InputError if no end-of-text token is named.
    """

    def _turn_ends(self) -> set[int]:
        end = None if self.chat_template is None else turn_end(self)
        return set() if end is None else {end}

    def with_max_length(self, length: int) -> Tokenizer:
        """The same tokenizer for a model with a context of `length` tokens."""
        settings = {**self._settings, "model_max_length": length}
        return Tokenizer(self._definition, settings, self.chat_template, self.stop_ids)

    @classmethod
    def load(cls, directory: Path | str) -> Tokenizer:
        """Read a directory in Hugging Face layout, ours or foreign; generation_config.json adds stop ids.

        If the tokenizer's own files name no end-of-text token (GPT-2), `eos_token_id` of config.json is used.
        Raises InputError if it contains no tokenizer, DamagedError if a file cannot be read.
        """
        directory = Path(directory)
        if not (directory / DEFINITION).is_file():
            raise InputError(
                f"{directory} holds no tokenizer: {DEFINITION} is missing",
                hint="copy it from where the model comes from: a model is of no use with another tokenizer",
            )
        settings = {**_read_json(directory / "special_tokens_map.json"), **_read_json(directory / SETTINGS)}
        template = settings.pop("chat_template", None)
        if isinstance(template, list):
            template = _default_template(template, directory / SETTINGS)
        if (directory / TEMPLATE).is_file():
            template = (directory / TEMPLATE).read_text(encoding="utf-8")
        stops = _read_json(directory / "generation_config.json").get("eos_token_id")
        stops = [] if stops is None else stops if isinstance(stops, list) else [stops]
        try:
            definition = (directory / DEFINITION).read_text(encoding="utf-8")
            if text_of(settings.get("eos_token")) is None:
                of_model = _read_json(directory / "config.json").get("eos_token_id", stops)
                settings |= _eos_by_id(definition, of_model)
            return cls(definition, settings, template, stops)
        except (DamagedError, UnicodeDecodeError) as error:
            raise DamagedError(f"{directory / DEFINITION} is damaged: {error}") from None

    def save(self, directory: Path | str) -> None:
        """Write tokenizer.json, tokenizer_config.json and chat_template.jinja; transformers loads these."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        write_atomic(directory / DEFINITION, self._definition)
        write_json(directory / SETTINGS, self._settings)
        if self.chat_template is not None:
            write_atomic(directory / TEMPLATE, self.chat_template)
        else:  # of the tokenizer that lay there before
            (directory / TEMPLATE).unlink(missing_ok=True)


# Other files from which tokenizers are read, ours and transformers': beside another tokenizer.json they mislead.
_SIDE_FILES = (
    TEMPLATE, "chat_template.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
    "vocab.txt", "tokenizer.model", "spiece.model",
)  # fmt: skip


def superseded_tokenizer(directory: Path) -> set[str]:
    """Names of the files of a tokenizer in `directory` that mean nothing once another is saved there."""
    if not (directory / DEFINITION).is_file():
        return set()
    return {name for name in _SIDE_FILES if (directory / name).is_file()}


def _default_template(named: list[Any], path: Path) -> str:
    """The template named "default" of a list, or the only one. Raises InputError otherwise."""
    try:
        templates = {str(item["name"]): str(item["template"]) for item in named}
    except (TypeError, KeyError):
        raise DamagedError(f"{path} is damaged: chat_template is not a list of names and templates") from None
    if "default" in templates:
        return templates["default"]
    if len(templates) == 1:
        return next(iter(templates.values()))
    raise InputError(
        f"{path} names {len(templates)} chat templates, none of them 'default': {', '.join(sorted(templates))}",
        hint="rename the one to use to 'default'",
    )


def _eos_by_id(definition: str, named: Any) -> dict[str, str]:
    """The setting that names the (first) end-of-text token `named` by its id; nothing if there is no such token."""
    first = named[0] if isinstance(named, list) and named else named
    try:
        token = tokenizers.Tokenizer.from_str(definition).id_to_token(first)
    except Exception:  # not an id, or an unreadable definition, which raises when it is built
        return {}
    return {} if token is None else {"eos_token": token}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DamagedError(f"{path} is damaged: {error}") from None
    if not isinstance(data, dict):
        raise DamagedError(f"{path} is damaged: it holds no object")
    return data
