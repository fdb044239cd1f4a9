"""The stage graph as plain data: what each stage needs, what of the recipe it depends on, and how it runs.

Stage functions are imported when they run, so that planning and `--help` stay fast.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.recipe.config import Recipe
from tutelage.store.config import Config
from tutelage.store.events import EventLog

# Settings that say how a stage is run, not what it makes. They are no part of its identity. Device and precision
# change the numbers, and how often something is logged or measured changes curve.jsonl: those count.
RUNTIME_KEYS = frozenset({"threads", "checkpoint_seconds", "keep_checkpoints", "parallel", "layers_every"})


@dataclass(frozen=True)
class Job:
    """All a stage function is given: the recipe, the directories of its inputs (None: not there), where to write."""

    recipe: Recipe
    inputs: dict[str, Path | None]
    out: Path
    work: Path
    log: EventLog

    def need(self, name: str) -> Path:
        path = self.inputs[name]
        assert path is not None, name  # the runner does not start a stage without its needs
        return path


@dataclass(frozen=True)
class Stage:
    """One stage. Raise `version` whenever its code makes something else of the same config and inputs."""

    name: str
    version: int
    needs: tuple[str, ...]
    settings: Callable[[Recipe], tuple[Config | None, ...]]  # sections it depends on; None: not wanted
    run: Callable[[Job], dict[str, Any]]
    uses: tuple[str, ...] = ()  # inputs it takes if they are there
    why_not: Callable[[Recipe, Path], str | None] | None = None  # given the corpus directory
    data: Callable[[Recipe], str | None] = lambda recipe: None  # the user's own file it reads, if any
    corpora: Callable[[Recipe], tuple[str, ...]] = lambda recipe: ()  # directories of other corpora it reads
    trains: bool = False  # in a run of several processes, all of them run it; the others only the first

    def wanted(self, recipe: Recipe) -> bool:
        return all(section is not None for section in self.settings(recipe))

    def config(self, recipe: Recipe) -> dict[str, Any]:
        """What of the recipe goes into the identity."""
        sections = [_without_runtime(section.plain()) for section in self.settings(recipe) if section is not None]
        return {"sections": sections, "seed": recipe.seed}


def _without_runtime(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _without_runtime(value) for key, value in data.items() if key not in RUNTIME_KEYS}
    return data


def _corpus(job: Job) -> dict[str, Any]:
    from tutelage.corpus.stage import build_corpus

    return build_corpus(job.recipe.corpus, out=job.out, log=job.log, seed=job.recipe.seed)


def _tokenizer(job: Job) -> dict[str, Any]:
    if job.recipe.adopt:
        from tutelage.interchange.adopt import adopt_tokenizer

        return adopt_tokenizer(
            job.recipe.adopt, corpus=job.need("corpus"), out=job.out, log=job.log, seed=job.recipe.seed
        )
    from tutelage.tokenizer.stage import train_tokenizer

    return train_tokenizer(
        job.recipe.tokenizer, corpus=job.need("corpus"), out=job.out, log=job.log, seed=job.recipe.seed
    )


def _baselines(job: Job) -> dict[str, Any]:
    from tutelage.evaluation.baselines import measure_baselines

    return measure_baselines(
        job.recipe.baselines, corpus=job.need("corpus"), tokenizer=job.need("tokenizer"), out=job.out, log=job.log,
        seed=job.recipe.seed,
    )  # fmt: skip


def _pretrain(job: Job) -> dict[str, Any]:
    if job.recipe.adopt:
        from tutelage.interchange.adopt import adopt

        return adopt(job.recipe.adopt, out=job.out, log=job.log)
    from tutelage.pretraining.stage import pretrain

    return pretrain(
        job.recipe.pretrain, job.recipe.model, corpus=job.need("corpus"), tokenizer=job.need("tokenizer"),
        out=job.out, work=job.work, log=job.log, seed=job.recipe.seed,
    )  # fmt: skip


def _classify(job: Job) -> dict[str, Any]:
    from tutelage.finetuning.classify import classify

    assert job.recipe.finetune.classify is not None
    return classify(
        job.recipe.finetune.classify, corpus=job.need("corpus"), base=job.need("pretrain"), out=job.out,
        work=job.work, log=job.log, seed=job.recipe.seed,
    )  # fmt: skip


def _instruct(job: Job) -> dict[str, Any]:
    from tutelage.finetuning.instruct import instruct

    assert job.recipe.finetune.instruct is not None
    return instruct(
        job.recipe.finetune.instruct, corpus=job.need("corpus"), base=job.need("pretrain"), out=job.out,
        work=job.work, log=job.log, seed=job.recipe.seed,
    )  # fmt: skip


def _pairs(job: Job) -> dict[str, Any]:
    from tutelage.finetuning.pairs import make_pairs

    return make_pairs(
        job.recipe.finetune.pairs, instructed=job.need("instruct"), out=job.out, work=job.work, log=job.log,
        seed=job.recipe.seed,
    )  # fmt: skip


def _prefer(job: Job) -> dict[str, Any]:
    from tutelage.finetuning.prefer import prefer

    assert job.recipe.finetune.prefer is not None
    return prefer(
        job.recipe.finetune.prefer, instructed=job.need("instruct"), pairs=job.inputs["pairs"], out=job.out,
        work=job.work, log=job.log, seed=job.recipe.seed,
    )  # fmt: skip


def _evaluate(job: Job) -> dict[str, Any]:
    from tutelage.evaluation.stage import evaluate

    return evaluate(
        job.recipe.evaluate, corpus=job.need("corpus"), baselines=job.need("baselines"), base=job.need("pretrain"),
        classify=job.inputs["classify"], instruct=job.inputs["instruct"], prefer=job.inputs["prefer"], out=job.out,
        log=job.log, seed=job.recipe.seed,
    )  # fmt: skip


def _why_no_labels(recipe: Recipe, corpus: Path) -> str | None:
    from tutelage.finetuning.classify import why_not

    return why_not(corpus, recipe.finetune.classify)


def _why_no_instructions(recipe: Recipe, corpus: Path) -> str | None:
    from tutelage.finetuning.instruct import why_not

    return why_not(corpus, recipe.finetune.instruct)


def _adopted(recipe: Recipe) -> str | None:
    """The adopted file or directory, whose content counts; a name stands for what it names."""
    source = recipe.adopt.source if recipe.adopt else None
    return source if source and Path(source).expanduser().exists() else None


def _pairs_wanted(recipe: Recipe) -> Config | None:
    prefer = recipe.finetune.prefer
    return recipe.finetune.pairs if prefer and prefer.data is None else None


STAGES: tuple[Stage, ...] = (
    Stage("corpus", 1, (), lambda recipe: (recipe.corpus,), _corpus),
    Stage("tokenizer", 1, ("corpus",), lambda recipe: (recipe.adopt or recipe.tokenizer,), _tokenizer, data=_adopted),
    Stage("baselines", 1, ("corpus", "tokenizer"), lambda recipe: (recipe.baselines,), _baselines),
    Stage("pretrain", 1, ("corpus", "tokenizer"), lambda recipe: (recipe.adopt,) if recipe.adopt else
          (recipe.pretrain, recipe.model), _pretrain, data=_adopted, trains=True,
          corpora=lambda recipe: tuple(one.corpus for one in recipe.pretrain.mixture)),
    Stage("classify", 1, ("corpus", "pretrain"), lambda recipe: (recipe.finetune.classify,), _classify,
          why_not=_why_no_labels, data=lambda recipe: getattr(recipe.finetune.classify, "data", None),
          trains=True),
    Stage("instruct", 1, ("corpus", "pretrain"), lambda recipe: (recipe.finetune.instruct,), _instruct,
          why_not=_why_no_instructions, data=lambda recipe: getattr(recipe.finetune.instruct, "data", None),
          trains=True),
    Stage("pairs", 1, ("instruct",), lambda recipe: (_pairs_wanted(recipe),), _pairs),
    Stage("prefer", 1, ("instruct",), lambda recipe: (recipe.finetune.prefer,), _prefer, uses=("pairs",),
          data=lambda recipe: getattr(recipe.finetune.prefer, "data", None), trains=True),
    Stage("evaluate", 1, ("corpus", "baselines", "pretrain"), lambda recipe: (recipe.evaluate,), _evaluate,
          uses=("classify", "instruct", "prefer")),
)  # fmt: skip


def stages_for(targets: tuple[str, ...] = ()) -> list[Stage]:
    """All stages in order, or those that `targets` need and use."""
    if not targets:
        return list(STAGES)
    by_name = {stage.name: stage for stage in STAGES}
    wanted: set[str] = set()

    def add(name: str) -> None:
        if name not in wanted:
            wanted.add(name)
            for needed in by_name[name].needs + by_name[name].uses:
                add(needed)

    for target in targets:
        add(target)
    return [stage for stage in STAGES if stage.name in wanted]
