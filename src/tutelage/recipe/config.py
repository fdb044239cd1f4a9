"""The recipe: the typed config of a model's whole life, from YAML, defaults and `--set` overrides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, model_validator

from tutelage.corpus.config import CorpusConfig
from tutelage.evaluation.config import BaselinesConfig, EvaluateConfig
from tutelage.finetuning.config import FinetuneConfig
from tutelage.model.config import ModelConfig
from tutelage.pretraining.config import PretrainConfig
from tutelage.store.config import Config
from tutelage.store.errors import ConfigError
from tutelage.tokenizer.config import TokenizerConfig


class Recipe(Config):
    """A whole life. Every section has working defaults: the empty recipe is the quickstart."""

    name: str = Field("quickstart", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = Field(1, ge=0)
    corpus: CorpusConfig = CorpusConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig = ModelConfig()
    pretrain: PretrainConfig = PretrainConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    baselines: BaselinesConfig = BaselinesConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        context, positions = self.pretrain.context_length, self.model.max_position_embeddings
        if positions < context:
            raise ValueError(
                f"pretrain.context_length ({context}) is longer than model.max_position_embeddings ({positions})"
            )
        if self.model.vocab_size and self.model.vocab_size < self.tokenizer.vocab_size:
            raise ValueError(
                f"model.vocab_size ({self.model.vocab_size}) is smaller than tokenizer.vocab_size "
                f"({self.tokenizer.vocab_size}); leave it at 0 to take the tokenizer's"
            )
        if self.model.num_labels:
            raise ValueError("model.num_labels belongs to classification finetuning; leave it at 0")
        if self.finetune.prefer and not self.finetune.instruct:
            raise ValueError("finetune.prefer needs finetune.instruct: preferences are sampled from that model")
        return self


def load_recipe(path: Path | None = None, sets: Sequence[str] = ()) -> Recipe:
    """A recipe from a YAML file (None: the defaults) and `a.b=value` overrides, the later ones winning.

    Raises ConfigError for a missing file, malformed YAML, an unknown key (naming the nearest) or a wrong value.
    """
    data = read_yaml(path) if path else {}
    for item in sets:
        override(data, item)
    return Recipe.parse(data, where="")


def read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"recipe {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"recipe {path} cannot be read: {error}") from None
    try:
        data = yaml.load(text, Loader=_UniqueKeys)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"recipe {path}{where}: {getattr(error, 'problem', None) or error}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"recipe {path} must be a mapping of sections, not a {type(data).__name__}")
    return data


def override(data: dict[str, Any], item: str) -> None:
    """Apply one `a.b.c=value` to plain recipe data; the value is YAML (`null`, `true`, `3e-4`, `[a, b]`)."""
    key, equals, text = item.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set {item!r} is not of the form key=value", hint="e.g. --set finetune.prefer.beta=0.3")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {item!r}: the value is not valid YAML ({error})") from None
    for part in parts[:-1]:
        inner = data.get(part)
        if not isinstance(inner, dict):
            inner = data[part] = {}
        data = inner
    data[parts[-1]] = value


class _UniqueKeys(yaml.SafeLoader):
    """Safe YAML in which a key given twice is an error instead of a silent loss."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)
