"""The stages that a recipe describes, as a graph of nodes: plain data, nothing is run here.

A node is a kind of stage (its spec), its settings in this recipe, and the nodes that are its inputs, by role.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tutelage.corpus.spec import SPEC as CORPUS
from tutelage.evaluation.bench.spec import SPEC as BENCHMARKS
from tutelage.evaluation.bench.spec import BenchmarkItems
from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.spec import BASELINES, EVALUATE, Evaluation, Subject
from tutelage.finetuning import method
from tutelage.interchange.spec import SPEC as ADOPT
from tutelage.pretraining.spec import SPEC as PRETRAIN
from tutelage.pretraining.spec import Pretraining
from tutelage.recipe.config import BASE, Recipe, Step
from tutelage.store.config import Config
from tutelage.store.errors import ConfigError, nearest
from tutelage.store.stage import StageSpec
from tutelage.tokenizer.spec import SPEC as TOKENIZER

# Settings that say how a stage is run, not what it makes. They are not part of its identity. Device and precision
# change the numbers, and how often something is logged or measured changes curve.jsonl: those count.
RUNTIME_KEYS = frozenset(
    {"threads", "checkpoint_seconds", "keep_checkpoints", "parallel", "layers_every", "stop_on", "engine"}
)


@dataclass(frozen=True)
class Node:
    """One stage of a recipe. `inputs`: role -> name of the node; `key`: its place in the recipe."""

    name: str
    spec: StageSpec
    config: Config
    inputs: dict[str, str]
    key: str

    def identity_config(self, recipe: Recipe) -> dict[str, Any]:
        """The part of the recipe that goes into the identity of its result."""
        seeds = {"training": recipe.seed, "data": recipe.data_seed}
        settings = _without_runtime(self.config.plain())
        for key in self.spec.files(self.config):
            # Files count by their content, wherever they are.
            settings.pop(key, None)
        return {"settings": settings, "seeds": {which: seeds[which] for which in self.spec.seeds}}


def _without_runtime(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _without_runtime(value) for key, value in data.items() if key not in RUNTIME_KEYS}
    return data


def life(recipe: Recipe, targets: Sequence[str] = ()) -> list[Node]:
    """The nodes of a recipe, each after its inputs: all that are needed, or what `targets` need.

    Without targets: the base, every step, and the evaluation. Raises ConfigError for a target that does not exist.
    """
    nodes = {node.name: node for node in [*_base(recipe), *_steps(recipe)]}
    wanted = _needed(nodes, list(recipe.finetune) or [BASE])
    nodes |= {node.name: node for node in _evaluation(recipe, wanted, nodes)}
    if unknown := [name for name in targets if name not in nodes]:
        raise ConfigError(f"this recipe has no stage {unknown[0]!r}", hint=nearest(unknown[0], nodes))
    ends = list(targets) or [*(recipe.finetune or [BASE]), *(["evaluate"] if "evaluate" in nodes else [])]
    needed = _needed(nodes, ends)
    return [node for node in nodes.values() if node.name in needed]


def _base(recipe: Recipe) -> list[Node]:
    corpus = _corpus(recipe)
    if recipe.base is None:
        assert recipe.pretrain is not None  # the recipe is checked for it
        raised = Pretraining(model=recipe.model, pretrain=recipe.pretrain)
        return [
            *corpus,
            Node("tokenizer", TOKENIZER, recipe.tokenizer, {"corpus": "corpus"}, "tokenizer"),
            Node(BASE, PRETRAIN, raised, {"corpus": "corpus", "tokenizer": "tokenizer"}, "pretrain"),
        ]
    if recipe.pretrain is None:
        return [*corpus, Node(BASE, ADOPT, recipe.base, {}, BASE)]
    further = Pretraining(model=None, pretrain=recipe.pretrain)
    return [
        *corpus,
        Node("source", ADOPT, recipe.base, {}, BASE),
        Node(BASE, PRETRAIN, further, {"corpus": "corpus", "model": "source"}, "pretrain"),
    ]


def _corpus(recipe: Recipe) -> list[Node]:
    """The corpus, and before it the benchmark items that it is decontaminated against."""
    searched = recipe.corpus.decontaminate
    if searched is None:
        return [Node("corpus", CORPUS, recipe.corpus, {}, "corpus")]
    return [
        Node("benchmarks", BENCHMARKS, BenchmarkItems(tasks=searched.tasks), {}, "corpus.decontaminate"),
        Node("corpus", CORPUS, recipe.corpus, {"items": "benchmarks"}, "corpus"),
    ]


def _steps(recipe: Recipe) -> list[Node]:
    """Every step after the one it starts from, preceded by the parts that are made for it alone."""
    ordered: dict[str, Step] = {}

    def add(name: str) -> None:
        step = recipe.finetune[name]
        if step.begins_with != BASE and step.begins_with not in ordered:
            add(step.begins_with)
        ordered.setdefault(name, step)

    for name in recipe.finetune:
        add(name)
    nodes = []
    for name, step in ordered.items():
        spec = method(step.method)
        places = {"model": step.begins_with, "corpus": "corpus"}
        inputs = {role: places[role] for role in spec.needs(step.settings)}
        for part in spec.parts(step.settings):
            needs = {role: places[role] for role in part.spec.needs(part.config)}
            nodes.append(Node(f"{name}.{part.role}", part.spec, part.config, needs, f"finetune.{name}.{part.role}"))
            inputs[part.role] = f"{name}.{part.role}"
        nodes.append(Node(name, spec, step.settings, inputs, f"finetune.{name}"))
    return nodes


def _evaluation(recipe: Recipe, wanted: set[str], nodes: dict[str, Node]) -> list[Node]:
    """The evaluation and its baselines; nothing where there is nothing to measure.

    The corpus's held-out text is used if the recipe has a corpus anyway, or asks for it.
    """
    config = recipe.evaluate
    if config is None:
        return []
    subjects = _subjects(recipe, config)
    text = "text" in config.tasks or (not config.tasks and "corpus" in wanted)
    text = text and any(subject.makes in ("language model", "chat model") for subject in subjects)
    if not text and not any(subject.heldout for subject in subjects):
        return []
    models = {subject.name: subject.name for subject in subjects}
    evaluation = Evaluation(evaluate=config, subjects=subjects, text=text)
    if not text:
        return [Node("evaluate", EVALUATE, evaluation, models, "evaluate")]
    tokenizer = "tokenizer" if "tokenizer" in nodes else BASE
    return [
        Node("baselines", BASELINES, recipe.baselines, {"corpus": "corpus", "tokenizer": tokenizer}, "baselines"),
        Node("evaluate", EVALUATE, evaluation, {"corpus": "corpus", "baselines": "baselines", **models}, "evaluate"),
    ]


def _subjects(recipe: Recipe, config: EvaluateConfig) -> tuple[Subject, ...]:
    """The models that are measured, each after the one it was finetuned from."""
    asked = set(config.models) or {BASE, *recipe.finetune}
    subjects = [Subject(name=BASE, makes="language model")] if BASE in asked else []
    for node in _steps(recipe):
        if node.name not in asked or node.spec.makes in ("data", "figures"):
            continue
        step = recipe.finetune[node.name]
        subjects.append(
            Subject(
                name=node.name, makes=node.spec.makes, parent=step.begins_with, heldout=node.spec.heldout,
                task=step.settings.task, own_rows=step.settings.data is not None,
                share=getattr(step.settings, "share", 1.0),
            )
        )  # fmt: skip
    return tuple(subjects)


def _needed(nodes: dict[str, Node], names: Sequence[str]) -> set[str]:
    """These nodes and all that they need."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += nodes[name].inputs.values()
    return found
