"""The definition of a stage: one spec for each kind, in the room that owns it.

`recipe` builds and runs a graph of specs; `guidance`, `report` and `cli` iterate over specs and know no stage by name.
Specs import nothing heavy; the code of a stage is imported when it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from tutelage.store.blocks import Block
from tutelage.store.config import Config
from tutelage.store.events import EventLog
from tutelage.store.view import View

Facts = Mapping[str, Any]
Level = Literal["note", "warning", "error"]
Makes = Literal["data", "language model", "chat model", "classifier", "reward model", "figures"]
Range = tuple[float, float, float]  # low, expected value, high
Heldout = Literal["", "labels", "label sets", "answers", "pairs", "problems", "texts"]


@dataclass(frozen=True)
class Job:
    """The arguments of a stage function. `inputs`: role -> directory of the artifact."""

    name: str
    config: Any
    inputs: Mapping[str, Path]
    out: Path
    work: Path
    log: EventLog
    seed: int
    data_seed: int


# Relative range of a memory forecast (checked by benchmarks/forecast_accuracy.py).
LESS_MEMORY, MORE_MEMORY = 0.87, 1.15


@dataclass(frozen=True)
class Forecast:
    """Seconds and peak bytes of a stage, with a range, and facts about its result (rows, tokens, ...).

    `memory`: peak resident bytes of the process during the stage, including memory left by earlier stages, as shown by
    `top` and measured in a run (`peak_memory_mb`); without GPU memory. `seconds` None: unknown until an earlier stage
    is done. `expected`: predicted metrics by path ("heldout_bits_per_byte", "timing.tokens_per_second").
    """

    seconds: float | None = None
    low: float = 0.0
    high: float = 0.0
    memory: float = 0.0
    facts: Facts = field(default_factory=dict)
    expected: Mapping[str, Range] = field(default_factory=dict)

    @property
    def memory_range(self) -> Range:
        """Bytes: low, middle, high."""
        return self.memory * LESS_MEMORY, self.memory, self.memory * MORE_MEMORY

    @classmethod
    def about(
        cls, seconds: float, less: float = 0.7, more: float = 1.5, memory: float = 0.0, facts: Facts | None = None
    ) -> Forecast:
        """`seconds`, between `less` and `more` times as much."""
        return cls(seconds, seconds * less, seconds * more, memory, facts or {})


class Machine(Protocol):
    """The speed and memory of a machine, for forecasts. Speeds are measured with the actual model.

    `model`: a ModelConfig. `settings`: a TrainingConfig. `lora`: a LoraConfig, or None.
    """

    def training_seconds_per_token(
        self, model: Any, context: int, settings: Any, trained_share: float = 1.0, lora: Any = None
    ) -> float:
        """From a few real steps, including the optimizer. `trained_share`: share of tokens with a target."""
        ...

    def training_memory(
        self, model: Any, context: int, settings: Any, trained_share: float = 1.0, lora: Any = None
    ) -> float:
        """Bytes that training adds to the process: weights, gradients, optimizer states, the copy for writing a
        checkpoint, and the peak of a step. Without GPU memory."""
        ...

    def scoring_seconds_per_token(self, model: Any) -> float: ...

    def decoding_seconds_per_token(self, model: Any) -> float:
        """Per token of each text, for texts generated in batches."""
        ...

    def bytes_per_second(self) -> float:
        """Speed of writing and reading a file."""
        ...

    def slowness(self) -> float:
        """Time of Python work on text, relative to the machine on which the constants of forecasts were measured."""
        ...

    def process_memory(self) -> float:
        """Bytes of a process with all modules loaded, after a first step."""
        ...


Finding = tuple[Level, str, str]  # level, message, fix (`--set ...`, or empty)


@dataclass(frozen=True)
class Rule:
    """A rule of thumb. `find` gets the facts of a node and returns a finding or None.

    Facts: the node's settings as dotted keys ("training.epochs"), `key` (the node's path in the recipe, for the fix:
    "finetune.chat"), and, by role, facts of its inputs ("model.parameters", "corpus.train_bytes") and of its result
    ("result.rows"). A rule is skipped if a fact in `wants` is unknown; `wants` is checked against the facts that specs
    provide.
    """

    id: str
    says: str
    source: str
    wants: tuple[str, ...]
    find: Callable[[Facts], Finding | None]

    def check(self, facts: Facts) -> Finding | None:
        """The finding, or None; also None if a fact in `wants` is unknown."""
        return self.find(facts) if all(name in facts for name in self.wants) else None


@dataclass(frozen=True)
class Headline:
    """A row of the first table of the report: a measure of the evaluation and its rivals."""

    measure: str
    label: str
    rivals: tuple[Literal["baselines", "parent", "base"], ...] = ("baselines",)


@dataclass(frozen=True)
class Way:
    """A way to finetune on a file: settings of the step. `default`: used unless the user names ways."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    default: bool = True


@dataclass(frozen=True)
class Part:
    """A stage that runs before a node, only for it, with the same model and corpus."""

    role: str
    spec: StageSpec
    config: Config


def _nothing(*_: Any) -> Any:
    return ()


def _no_files(config: Any) -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class StageSpec:
    """A kind of stage. Raise `version` whenever its code produces a different result from the same config and inputs.

    kind: its name in artifacts and, for a finetuning method, in recipes.
    config: the type of its settings.
    run: does the work and returns the main metrics; files go to `job.out`.
    needs: roles of its inputs for a config: `corpus`, `tokenizer`, `model` (the `from` of a step) or that of a part.
    seeds: the seeds that its result depends on.
    files: the user's files in a config, key -> path; their content is part of the identity.
    audit: reads the user's file before any long work and returns its number of training rows (None: no file). Raises
        InputError for an unusable file.
    settings_for: settings that follow from the rows of the user's file in a config; `--set` overrides them.
    preflight: (config, tokenizer, config of the model, log, data seed) -> account of what would be trained on from the
        user's file, with a sample; trains nothing.
    why_not: why the inputs are unsuitable, as a sentence (None: they are suitable); called once the corpus exists.
    parts: stages made only for this node.
    trains: with several processes, whether all of them run it; otherwise only the first does.
    suggest: (parameters of the model, rows of data) -> suitable ways by name; each becomes a step.
    heldout: the kind of rows in its `data/heldout.jsonl`, on which it is evaluated.
    forecast: from the config and the facts of each input by role.
    result_facts: the facts of a finished artifact, from its metrics.
    headline: metrics for a summary line. glance, section, sentence: for the report.
    """

    kind: str
    version: int
    title: str
    config: type[Config]
    run: Callable[[Job], dict[str, Any]]
    makes: Makes
    needs: Callable[[Any], tuple[str, ...]] = _nothing
    seeds: tuple[Literal["training", "data"], ...] = ()
    files: Callable[[Any], Mapping[str, str]] = _no_files
    identity: Callable[[Any], Mapping[str, str]] = _no_files
    audit: Callable[[Any, EventLog], int | None] | None = None
    settings_for: Callable[[Any], Mapping[str, Any]] | None = None
    preflight: Callable[[Any, Any, Any, EventLog, int], dict[str, Any]] | None = None
    why_not: Callable[[Any, Mapping[str, Path]], str | None] | None = None
    parts: Callable[[Any], tuple[Part, ...]] = _nothing
    trains: bool = False
    suggest: Callable[[int, int], dict[str, Way]] | None = None
    heldout: Heldout = ""
    forecast: Callable[[Any, Mapping[str, Facts], Machine], Forecast] | None = None
    result_facts: Callable[[Mapping[str, Any]], Facts] | None = None
    rules: Callable[[], Sequence[Rule]] = _nothing
    headline: tuple[str, ...] = ()
    glance: tuple[Headline, ...] = ()
    section: Callable[[View], list[Block | None]] | None = None
    sentence: Callable[[View], str] | None = None
