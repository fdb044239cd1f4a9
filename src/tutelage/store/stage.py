"""What a stage is: one spec for each kind, written in the room that owns it.

`recipe` makes a graph of specs and runs it; `guidance`, `report` and `cli` walk over them and know no stage by name.
Specs are light to import: what a stage computes with is imported when it runs.
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
Range = tuple[float, float, float]  # what is expected between the ends of its range: low, middle, high
Heldout = Literal["", "labels", "label sets", "answers", "pairs", "problems", "texts"]


@dataclass(frozen=True)
class Job:
    """All that a stage function is given. `inputs`: role -> directory of the artifact that plays it."""

    name: str
    config: Any
    inputs: Mapping[str, Path]
    out: Path
    work: Path
    log: EventLog
    seed: int
    data_seed: int


# The range that a forecast of memory states (benchmarks/forecast_accuracy.py checks it).
LESS_MEMORY, MORE_MEMORY = 0.87, 1.15


@dataclass(frozen=True)
class Forecast:
    """Seconds and peak bytes of a stage, with a range, and what will be known of its result (rows, tokens, ...).

    `memory`: resident bytes of the process at their highest in the stage, what earlier stages left included, as `top`
    shows them and as a run measures them (`peak_memory_mb`); not those of a GPU.

    `seconds` None: it cannot be told before an earlier stage is done. `expected`: what its metrics will say, by their
    path ("heldout_bits_per_byte", "timing.tokens_per_second"), where that can be told.
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
    """What forecasts ask of the machine at hand. Rates are measured on the model that will run, not guessed.

    `model`: a ModelConfig. `settings`: a TrainingConfig. `lora`: a LoraConfig, or None.
    """

    def training_seconds_per_token(
        self, model: Any, context: int, settings: Any, trained_share: float = 1.0, lora: Any = None
    ) -> float:
        """From a few real steps, the optimizer's included. `trained_share` of the tokens have a target."""
        ...

    def training_memory(
        self, model: Any, context: int, settings: Any, trained_share: float = 1.0, lora: Any = None
    ) -> float:
        """Bytes that training adds to the process: weights, gradients, optimizer states, the copy that a checkpoint is
        written from, and what those steps hold at their peak. Of a GPU's memory nothing."""
        ...

    def scoring_seconds_per_token(self, model: Any) -> float: ...

    def decoding_seconds_per_token(self, model: Any) -> float:
        """Of each token of each text when texts are generated in batches."""
        ...

    def bytes_per_second(self) -> float:
        """To write a file and read it again."""
        ...

    def slowness(self) -> float:
        """Time of plain Python work on text, relative to the machine on which the rooms' constants were measured."""
        ...

    def process_memory(self) -> float:
        """Bytes of a process that has everything loaded and has done a first step."""
        ...


Finding = tuple[Level, str, str]  # level, message, fix (`--set ...`, or empty)


@dataclass(frozen=True)
class Rule:
    """A rule of thumb. `find` gets the facts of a node and returns what is wrong, or None.

    Facts: the node's settings as dotted keys ("training.epochs"), `key` (the node's place in the recipe, for the fix:
    "finetune.chat"), and, by role, what is known of its inputs ("model.parameters", "corpus.train_bytes") and of its
    own result ("result.rows"). A fact that is not known makes the rule silent; a fact that no stage ever gives is an
    error of the rule (`wants` is checked against what the specs give).
    """

    id: str
    says: str
    source: str
    wants: tuple[str, ...]
    find: Callable[[Facts], Finding | None]

    def check(self, facts: Facts) -> Finding | None:
        """What is wrong, or None; None too where a fact that it wants is not known."""
        return self.find(facts) if all(name in facts for name in self.wants) else None


@dataclass(frozen=True)
class Headline:
    """A figure of the first table of the report: a measure of the evaluation, and whom it is compared with."""

    measure: str
    label: str
    rivals: tuple[Literal["baselines", "parent", "base"], ...] = ("baselines",)


@dataclass(frozen=True)
class Way:
    """One way to finetune on an own file: settings of the step. `default`: taken unless the user names the ways."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    default: bool = True


@dataclass(frozen=True)
class Part:
    """A stage that a node needs made for itself first. It gets the same model and corpus."""

    role: str
    spec: StageSpec
    config: Config


def _nothing(*_: Any) -> Any:
    return ()


def _no_files(config: Any) -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class StageSpec:
    """One kind of stage. Raise `version` whenever its code makes something else of the same config and inputs.

    kind: its name in artifacts and, for a finetuning method, in recipes.
    config: the type of its settings.
    run: does the work and returns the main metrics; files go into `job.out`.
    needs: the roles of its inputs for a config: `corpus`, `tokenizer`, `model` (the `from` of a step) or a part's.
    seeds: which seeds its result depends on.
    files: the user's own files that a config names, key -> path; their content is part of the identity.
    audit: reads the user's own file before anything long begins and returns its number of training rows (None: there is
        no file). Raises InputError where the stage could not use it.
    settings_for: settings that the rows of the user's own file ask for, from a config that names it; `--set` overrides.
    preflight: (config, tokenizer, config of the model, log, data seed) -> what exactly would be trained of the user's
        own file, in figures and a sample; trains nothing.
    why_not: why these inputs cannot feed it, in a sentence (None: they can); asked as soon as the corpus is there.
    parts: stages made for this node alone.
    trains: in a run of several processes all of them run it, otherwise only the first.
    suggest: from (parameters of the model, rows of data) the ways that suit by name; each becomes a step.
    heldout: what kind of rows it leaves in `data/heldout.jsonl`: they are what it is evaluated on.
    forecast: from config and the facts of each input by role.
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
