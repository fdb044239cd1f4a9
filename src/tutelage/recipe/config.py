"""The recipe: the typed config of a model's whole life, from YAML, defaults and `--set` overrides."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, model_validator

from tutelage.corpus.config import CorpusConfig
from tutelage.evaluation.config import BaselinesConfig, EvaluateConfig
from tutelage.finetuning.config import FinetuneConfig
from tutelage.interchange.config import AdoptConfig
from tutelage.model.config import ModelConfig
from tutelage.pretraining.config import PretrainConfig
from tutelage.store.config import Config
from tutelage.store.errors import ConfigError
from tutelage.tokenizer.config import TokenizerConfig

RESERVED = ("artifacts", "work", "latest")  # names the store itself uses beside the run folders


class Recipe(Config):
    """A whole life. Every section has working defaults: the empty recipe is the quickstart.

    `adopt` puts a model from elsewhere in the place of `tokenizer`, `model` and `pretrain`.
    """

    name: str = Field("quickstart", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = Field(1, ge=0)
    corpus: CorpusConfig = CorpusConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    adopt: AdoptConfig | None = None
    model: ModelConfig = ModelConfig()
    pretrain: PretrainConfig = PretrainConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    baselines: BaselinesConfig = BaselinesConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.name in RESERVED:
            raise ValueError(f"name {self.name!r} is taken by the store itself; choose another")
        if self.adopt:
            for name in ("tokenizer", "model", "pretrain"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"adopt brings tokenizer and model of its own; leave out the section {name!r}")
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
        raise ConfigError(f"recipe {path}{where}: {_problem(error)}") from None
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
        raise ConfigError(f"--set {item!r}: the value is not valid YAML ({_problem(error)})") from None
    for part in parts[:-1]:
        inner = data.get(part)
        if not isinstance(inner, dict):
            inner = data[part] = {}
        data = inner
    data[parts[-1]] = value


def setting(key: str, value: str) -> str:
    """An override that sets `key` to exactly this text, whatever YAML would read in it (`2024`, `no`, `a: b`)."""
    return f"{key}={json.dumps(value, ensure_ascii=False)}"


def _problem(error: yaml.YAMLError) -> str:
    """What is wrong, on one line."""
    return " ".join(str(getattr(error, "problem", None) or error).split())


class _UniqueKeys(yaml.SafeLoader):
    """Safe YAML in which a key given twice, or one that is no text, is an error instead of a silent loss."""

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)  # type: ignore[no-untyped-call]
        seen = set()
        for key, _ in node.value:
            if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                shown = repr(key.value) if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                raise yaml.composer.ComposerError(None, None, f"{shown} is no key; keys are words", key.start_mark)
            if key.value in seen:
                raise yaml.composer.ComposerError(None, None, f"key {key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return node
