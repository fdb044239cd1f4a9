"""The recipe: the typed config of a model's whole life, from YAML, defaults and `--set` overrides."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, field_validator, model_serializer, model_validator

from tutelage.corpus.config import CorpusConfig
from tutelage.evaluation.config import BaselinesConfig, EvaluateConfig
from tutelage.finetuning import method, method_names
from tutelage.finetuning.config import FinetuneConfig
from tutelage.interchange.config import AdoptConfig
from tutelage.model.families import FamilyConfig
from tutelage.pretraining.config import PretrainConfig
from tutelage.store.config import Config
from tutelage.store.errors import ConfigError, nearest
from tutelage.tokenizer.config import TokenizerConfig

RESERVED = ("artifacts", "work", "latest", "ablations")  # names that the store itself uses next to the run folders
BASE = "base"
PARTS_OF_A_LIFE = (  # reserved names that no step may have
    BASE, "source", "corpus", "benchmarks", "tokenizer", "baselines", "evaluate", "text",
)  # fmt: skip

# The finetuning steps of the quickstart, as in recipes/quickstart.yaml.
QUICKSTART: dict[str, Any] = {
    "finetune": {
        "classify": {
            "method": "classify",
            "task": "labels",
            "min_per_label": 40,
            "min_heldout": 5,
            "max_per_label": 400,
        },
        "instruct": {"method": "instruct", "task": "docstrings", "max_rows": 12000},
        "prefer": {"method": "prefer", "from": "instruct", "task": "docstrings"},
    },
}


class Step(Config):
    """One step of finetuning: a method, the model it starts from (another step, or `base`), and its settings."""

    method: str
    begins_with: str
    settings: FinetuneConfig

    @model_serializer
    def _as_in_a_recipe(self) -> dict[str, Any]:
        return {"method": self.method, "from": self.begins_with, **self.settings.plain()}


class Recipe(Config):
    """The whole life of a model. `base` is trained here from `corpus`, `tokenizer`, `model` and `pretrain`, or comes
    from elsewhere (`base: smollm2`, or a mapping with `source`), and is then pretrained further only if `pretrain` is
    given.

    `finetune` maps names to steps {method, from, data or task, ...}. `seed` determines weights and noise; `data_seed`
    decides what is held out and in what order rows are seen, so that runs of several seeds can be compared row by row.
    """

    name: str = "quickstart"
    seed: int = Field(1, ge=0)
    data_seed: int = Field(1, ge=0)
    corpus: CorpusConfig = CorpusConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    base: AdoptConfig | None = None
    model: FamilyConfig = FamilyConfig()
    pretrain: PretrainConfig | None = PretrainConfig()
    finetune: dict[str, Step] = Field(default_factory=dict)
    baselines: BaselinesConfig = BaselinesConfig()
    evaluate: EvaluateConfig | None = EvaluateConfig()

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise ValueError(
                f"{name!r} is no name of a run: letters, digits, '.', '-' and '_', a letter or digit first"
            )
        if len(name) > LONGEST_NAME:
            raise ValueError(f"the name has {len(name)} characters, {LONGEST_NAME} at most are allowed")
        return name

    @model_validator(mode="before")
    @classmethod
    def _spelled_out(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        _refuse_old_spellings(given)
        given = dict(given)
        if isinstance(given.get("base"), str):
            given["base"] = {"source": given["base"]}
        if given.get("base") is not None:
            given.setdefault("pretrain", None)
        steps = given.get("finetune") or {}
        if not isinstance(steps, Mapping):
            raise ConfigError(
                "finetune must be a mapping of names to steps", hint="e.g. finetune: {chat: {method: instruct}}"
            )
        steps = {name: step for name, step in steps.items() if step is not None}
        given["finetune"] = {
            name: step if isinstance(step, Step) else parse_step(str(name), step, steps) for name, step in steps.items()
        }
        return given

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.name in RESERVED:
            raise ValueError(f"name {self.name!r} is reserved by the store; choose another")
        if self.base:
            for name in ("tokenizer", "model"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"base brings its own tokenizer and model; leave out the section {name!r}")
        elif self.pretrain is None:
            raise ValueError("pretrain is null, and there is no base from elsewhere: nothing would be trained")
        else:
            self._shape_fits(self.pretrain)
        self._steps_are_a_graph()
        for name in self.evaluate.models if self.evaluate else ():
            if name != BASE and name not in self.finetune:
                raise ConfigError(
                    f"evaluate.models: there is no model {name!r}", hint=nearest(name, [BASE, *self.finetune])
                )
        for name in self.evaluate.tasks if self.evaluate else ():
            if name != "text" and name not in self.finetune:
                raise ConfigError(f"evaluate.tasks: there is no {name!r}", hint=nearest(name, ["text", *self.finetune]))
        return self

    def _shape_fits(self, pretrain: PretrainConfig) -> None:
        context, positions = pretrain.context_length, self.model.max_position_embeddings
        if positions < context:
            raise ValueError(
                f"pretrain.context_length ({context}) is longer than model.max_position_embeddings ({positions})"
            )
        if self.model.vocab_size and self.model.vocab_size < self.tokenizer.vocab_size:
            raise ValueError(
                f"model.vocab_size ({self.model.vocab_size}) is smaller than tokenizer.vocab_size "
                f"({self.tokenizer.vocab_size}); leave it at 0 to take the tokenizer's"
            )
        if self.model.num_labels or self.model.pooling != "last":
            raise ValueError("model.num_labels and model.pooling belong to classification finetuning; leave them out")

    def _steps_are_a_graph(self) -> None:
        for name in self.finetune:
            seen = [name]
            while (parent := self.finetune[seen[-1]].begins_with) != BASE:
                if parent in seen:
                    raise ConfigError(f"finetune.{name}.from: {' -> '.join([*seen, parent])} is a circle")
                before, after = (method(self.finetune[step].method).makes for step in (parent, seen[-1]))
                if before in ("classifier", "reward model") and before != after:
                    raise ConfigError(
                        f"finetune.{seen[-1]}.from: {parent!r} is a {before}; only a {before} can start from it"
                    )
                seen.append(parent)

    def plain(self) -> dict[str, Any]:
        return {
            **super().plain(),
            "finetune": {name: step.model_dump(mode="json") for name, step in self.finetune.items()},
        }


def parse_step(name: str, given: Any, steps: Mapping[str, Any]) -> Step:
    """One entry of `finetune`. Raises ConfigError naming the key."""
    where = f"finetune.{name}"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name) or name in PARTS_OF_A_LIFE:
        raise ConfigError(
            f"{where}: {name!r} is not a valid name for a step",
            hint="letters, digits, - and _; not " + ", ".join(PARTS_OF_A_LIFE),
        )
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where} must be a mapping with a method", hint=f"methods: {', '.join(method_names())}")
    settings = dict(given)
    kind = str(settings.pop("method", name if name in method_names() else ""))
    if not kind:
        raise ConfigError(f"{where}.method is missing", hint=f"methods: {', '.join(method_names())}")
    spec = method(kind, f"{where}.method")
    begins_with = settings.pop("from", None)
    earlier = [other for other in steps if other != name]
    if begins_with is None and spec.heldout == "pairs" and earlier:
        raise ConfigError(
            f"{where}.from is missing: which model should be finetuned?", hint=nearest("", [BASE, *earlier])
        )
    begins_with = BASE if begins_with is None else str(begins_with)
    if begins_with != BASE and begins_with not in steps:
        raise ConfigError(
            f"{where}.from: there is no step {begins_with!r}", hint=nearest(begins_with, [BASE, *earlier])
        )
    parsed = spec.config.parse(settings, where)
    assert isinstance(parsed, FinetuneConfig)
    return Step(method=kind, begins_with=begins_with, settings=parsed)


def _refuse_old_spellings(given: Mapping[str, Any]) -> None:
    """Keys of recipes of version 0.1, with the new spelling."""
    if "adopt" in given:
        raise ConfigError("the section `adopt` is now `base`", hint="e.g. base: {source: smollm2, context_length: 512}")
    steps = given.get("finetune")
    if isinstance(steps, Mapping) and "pairs" in steps and "method" not in (steps["pairs"] or {}):
        raise ConfigError(
            "`finetune.pairs` now belongs to the step that learns from the pairs", hint="finetune.prefer.pairs"
        )
    for name, step in steps.items() if isinstance(steps, Mapping) else ():
        for old, new in (("max_pairs", "max_rows"), ("min_pairs", "min_rows")):
            if isinstance(step, Mapping) and old in step and step.get("method", name) == "instruct":
                raise ConfigError(f"`finetune.{name}.{old}` is now `finetune.{name}.{new}`")


LONGEST_NAME = 100  # characters; it names a folder, and file systems take 255 bytes
_OF_ROWS = (".jsonl", ".ndjson", ".csv", ".tsv", ".psv", ".txt")


def load_recipe(path: Path | None = None, sets: Sequence[str] = ()) -> Recipe:
    """A recipe from a YAML file (None: the quickstart) and `a.b=value` overrides, the later ones winning.

    Raises ConfigError for a missing file, malformed YAML, an unknown key (naming the nearest) or a wrong value.
    """
    data = read_yaml(path) if path else copy.deepcopy(QUICKSTART)
    for item in sets:
        override(data, item)
    return Recipe.parse(data, where="")


def read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"recipe {path} does not exist") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"recipe {path} is not UTF-8 (at byte {error.start})", hint="save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"recipe {path} cannot be read: {error.strerror or error}") from None
    if path.suffix.lower() in _OF_ROWS:
        raise ConfigError(f"{path} is a file of rows, not a recipe", hint=f"tutelage finetune METHOD {path}")
    try:
        data = yaml.load(text, Loader=_UniqueKeys)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"recipe {path}{where}: {_problem(error)}") from None
    if data is None:
        raise ConfigError(f"recipe {path} is empty", hint="{} alone, an empty mapping, stands for the quickstart")
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
    """An override that sets `key` to exactly this text, whatever YAML would make of it (`2024`, `no`, `a: b`)."""
    return f"{key}={json.dumps(value, ensure_ascii=False)}"


def _problem(error: yaml.YAMLError) -> str:
    """The error, on one line."""
    return " ".join(str(getattr(error, "problem", None) or error).split())


class _UniqueKeys(yaml.SafeLoader):
    """Safe YAML in which a duplicate key, or one that is not a string, is an error instead of a silent loss."""

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)  # type: ignore[no-untyped-call]
        seen = set()
        for key, _ in node.value:
            if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                shown = repr(key.value) if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                raise yaml.composer.ComposerError(
                    None, None, f"{shown} is not a valid key; keys are strings", key.start_mark
                )
            if key.value in seen:
                raise yaml.composer.ComposerError(None, None, f"key {key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return node
