"""How a model was taught to translate: the prompt and the languages, kept in the tokenizer's settings.

They travel with the model wherever its tokenizer does, so that it is asked as it was trained.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tutelage.store.errors import ConfigError, DamagedError, nearest
from tutelage.tokenizer.tokenizer import Tokenizer

KEY = "translation"  # in tokenizer_config.json; other libraries carry it along
TEXT = "{text}"


@dataclass(frozen=True)
class Translation:
    """`prompt`: with {text}, and {source} and {target} for the language names. `both`: trained in both directions."""

    prompt: str
    source: str = ""
    target: str = ""
    both: bool = False

    def ask(self, text: str, backwards: bool = False) -> str:
        """The prompt for a translation, as in training."""
        source, target = (self.target, self.source) if backwards else (self.source, self.target)
        before, _, after = self.prompt.partition(TEXT)
        said = (part.replace("{source}", source).replace("{target}", target) for part in (before, after))
        return text.join(said)

    def backwards(self, target: str | None) -> bool:
        """Whether `target` is the reverse direction. Raises ConfigError for a language the model was not trained on."""
        if target is None or _same(target, self.target):
            return False
        known = [self.target, *([self.source] if self.both else [])]
        if self.both and _same(target, self.source):
            return True
        raise ConfigError(f"this model does not translate into {target!r}", hint=nearest(target, filter(None, known)))


def _same(one: str, other: str) -> bool:
    return one.strip().casefold() == other.strip().casefold()


def with_translation(tok: Tokenizer, translation: Translation) -> Tokenizer:
    """The same tokenizer with the prompt for translations in its settings."""
    settings = {**tok.settings, KEY: asdict(translation)}
    return Tokenizer(tok.definition, settings, tok.chat_template, tok.stop_ids)


def translation_of(tok: Tokenizer) -> Translation | None:
    """How its model is asked for a translation; None where it was not taught. Raises DamagedError."""
    kept: Any = tok.settings.get(KEY)
    if kept is None:
        return None
    try:
        return Translation(**kept)
    except TypeError:
        raise DamagedError("the tokenizer's settings of translation are damaged") from None
