"""The bench: runs the arms seed by seed, reports the noise first, stops once the question is settled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage.ablation.arms import Arm, Match
from tutelage.ablation.judge import Noise, Paired, Scores, judged, noise_of, paired, scores_of
from tutelage.ablation.ledger import Ledger, key_of
from tutelage.ablation.measure import Items, corpus_items, measured, step_items
from tutelage.ablation.resources import Cost, cost_of
from tutelage.ablation.runs import Runner, matched
from tutelage.evaluation.config import EvaluateConfig
from tutelage.finetuning import method
from tutelage.recipe.config import BASE
from tutelage.recipe.graph import life
from tutelage.recipe.locks import exclusive
from tutelage.store.artifacts import Artifact, ArtifactStore
from tutelage.store.errors import TrainingError
from tutelage.store.events import EventLog, Listener

FOLDER = "ablations"


@dataclass(frozen=True)
class Question:
    """The question: which of the arms is better than the first, measured on `target`'s model.

    name: of the folder whose ledger counts this trial. effect: the smallest difference that matters, as a share.
    """

    name: str
    arms: tuple[Arm, ...]
    target: str = BASE
    seeds: int = 3
    match: Match = "steps"
    effect: float = 0.01


@dataclass
class Trial:
    """An arm in progress: its models and bits seed by seed, and the result of the looks so far."""

    arm: Arm
    models: list[Artifact] = field(default_factory=list)
    bits: list[list[float]] = field(default_factory=list)
    paired: Paired | None = None
    failed: str = ""
    key: str = ""

    @property
    def closed(self) -> bool:
        return bool(self.failed or (self.paired and self.paired.settled))


@dataclass(frozen=True)
class Findings:
    """The findings of a question. `tried`: how many tries the ledger holds; started: stages that actually ran."""

    question: Question
    items: Items
    noise: Noise | None
    trials: tuple[Trial, ...]
    scores: dict[str, Scores]
    costs: dict[str, Cost]
    tried: int
    started: int
    folder: Path


def ask(
    question: Question,
    root: Path,
    tell: Callable[[str], None] = lambda line: None,
    on_noise: Callable[[Noise, float, int, str], None] = lambda noise, effect, tried, measure: None,
    listeners: tuple[Listener, ...] = (),
) -> Findings:
    """Run what the question needs and the cache does not have, one run after another, and judge it.

    The first arm's first two seeds come first, so that the noise is known (`on_noise`) before anything is compared;
    then every arm under two seeds, then one more seed at a time for those that are not settled. An arm whose training
    diverges loses. Raises any other error of a run; if called again, finished runs are not repeated.
    """
    folder = root / FOLDER / question.name
    with exclusive(root / "work" / f"ablation-{question.name}.lock", f"another process is working in {folder}"):
        runner = Runner(root, folder, question.target, listeners)
        trials = [Trial(arm) for arm in _prepared(question, runner, tell)]
        bench = _Bench(question, runner, trials, Ledger.open(folder), ArtifactStore(root), tell, on_noise, listeners)
        return bench.work()


def _prepared(question: Question, runner: Runner, tell: Callable[[str], None]) -> list[Arm]:
    arms = matched(list(question.arms), runner, question.match, tell)
    return [*arms]


@dataclass
class _Bench:
    question: Question
    runner: Runner
    trials: list[Trial]
    ledger: Ledger
    store: ArtifactStore
    tell: Callable[[str], None]
    on_noise: Callable[[Noise, float, int, str], None]
    listeners: tuple[Listener, ...]
    items: Items | None = None

    def work(self) -> Findings:
        first, *others = self.trials
        self.enter()
        for seed in range(min(2, self.question.seeds)):
            self.run(first, seed)
        if first.failed:
            raise TrainingError(f"the first arm ({first.arm.name}) cannot be trained: {first.failed}")
        if self.question.seeds > 1:
            noise = noise_of(self.scores(first))
            self.on_noise(noise, self.question.effect, self.ledger.count, self.held_out().measure)
        for trial in others:
            for seed in range(min(2, self.question.seeds)):
                self.run(trial, seed)
        self.look()
        for seed in range(2, self.question.seeds):
            undecided = [trial for trial in others if not trial.closed]
            if not undecided:
                self.tell(f"settled after {seed} of {self.question.seeds} seeds")
                break
            for trial in [first, *undecided]:
                self.run(trial, seed)
            self.look()
        return self.findings()

    def enter(self) -> None:
        """Every arm counts from the moment it is tried, whatever the result."""
        first, *others = self.trials
        target = self.question.target
        about = {"of": target, "match": self.question.match, "seeds": self.question.seeds}
        for trial in others:
            trial.key = key_of(arm=_asked(trial.arm, target), first=_asked(first.arm, target), **about)
            self.ledger.record(trial.key, arm=trial.arm.name, sets=list(trial.arm.sets), first=first.arm.name, **about)

    def run(self, trial: Trial, seed: int) -> None:
        """One run and its bits; a failure closes the trial. Seeds come in order."""
        if trial.failed or len(trial.bits) > seed:
            return
        before = self.runner.started
        try:
            model = self.runner.model(trial.arm, seed)
        except TrainingError as error:
            trial.failed = error.message
            self.tell(f"{trial.arm.name}, seed {seed + 1}: failed: {error.message}")
            return
        items = self.held_out()
        log = EventLog(None, self.listeners)
        bits = measured(items, model, self.store, trial.arm.recipe.evaluate or EvaluateConfig(), log)
        trial.models.append(model)
        trial.bits.append(bits)
        how = "" if self.runner.started > before else " (cached)"
        self.tell(f"{trial.arm.name}, seed {seed + 1}: {sum(bits) / sum(items.sizes):.4f} {items.measure}{how}")

    def held_out(self) -> Items:
        """Made before the first measurement, from every arm, and never changed."""
        if self.items is None:
            arms = [trial.arm for trial in self.trials]
            config = arms[0].recipe.evaluate or EvaluateConfig()
            if self.question.target == BASE:
                self.items = corpus_items([self.runner.corpus(arm) for arm in arms], config.heldout_documents)
            else:
                heldout = method(arms[0].recipe.finetune[self.question.target].method).heldout
                self.items = step_items([self.runner.model(arm, 0).path for arm in arms], heldout, config.loss_rows)
        return self.items

    def scores(self, trial: Trial) -> Scores:
        items = self.held_out()
        return scores_of(trial.bits, items.sizes, items.clusters)

    def look(self) -> None:
        """Judge every arm that is not closed by a failure, together with everything that was tried before."""
        first, *others = self.trials
        base = self.scores(first)
        effect = self.question.effect * float(base.per_byte.mean())
        going = [trial for trial in others if trial.bits and not trial.failed]
        for trial in going:
            if not trial.closed:
                trial.paired = paired(self.scores(trial), base, self.question.seeds, effect, self.ledger.count)
        adjusted = self.ledger.adjusted({trial.key: trial.paired.p for trial in going if trial.paired})
        for trial in going:
            assert trial.paired is not None
            trial.paired = judged(trial.paired, adjusted[trial.key], effect, base.bits.shape[1])
            self.ledger.record(
                trial.key, p=trial.paired.p, looked=trial.paired.seeds, difference=round(trial.paired.difference, 6),
                outcome=trial.paired.outcome, judged_among=self.ledger.count,
            )  # fmt: skip
        for trial in others:
            if trial.failed:
                self.ledger.record(trial.key, outcome="failed", judged_among=self.ledger.count)

    def findings(self) -> Findings:
        first = self.trials[0]
        whole = [trial for trial in self.trials if trial.bits]
        return Findings(
            self.question, self.held_out(), noise_of(self.scores(first)) if len(first.bits) > 1 else None,
            tuple(self.trials), {trial.arm.name: self.scores(trial) for trial in whole},
            {trial.arm.name: cost_of(trial.models) for trial in whole}, self.ledger.count, self.runner.started,
            self.runner.folder,
        )  # fmt: skip


def _asked(arm: Arm, target: str) -> dict[str, Any]:
    """The identity of a try: the arm's recipe as far as the model that is measured comes from it, except its name and
    how it is run. A later step that is changed meanwhile does not make another try of a question about the base."""
    plain = arm.recipe.plain()
    needed = {node.name for node in life(arm.recipe, (target,))}
    steps = {name: step for name, step in plain.get("finetune", {}).items() if name in needed}
    kept = {key: value for key, value in plain.items() if key not in ("name", "evaluate", "baselines")}
    return {**kept, "finetune": steps} if "finetune" in kept else kept
