"""The reinforcement stage: a model and problems in, a model that solves more of them out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.finetuning.common import (
    account,
    adapt,
    context_of,
    load_base,
    run_metrics,
    task_rows,
    tell_left_out,
    write_model,
)
from tutelage.finetuning.data import Audit, Row, Split, problem_key, read_problems, stratified_split, write_rows
from tutelage.finetuning.reinforce.config import ReinforceConfig
from tutelage.finetuning.reinforce.grading import Graded, constant_solves, grade, graded_rows, passing
from tutelage.finetuning.reinforce.objective import Reinforcement
from tutelage.finetuning.reinforce.problems import Problems, problems_of
from tutelage.finetuning.reinforce.reference import reference_of
from tutelage.finetuning.reinforce.rewards import check_gold, default_rewards
from tutelage.finetuning.reinforce.watch import warn
from tutelage.inference.language_model import LanguageModel
from tutelage.model.io import load_model
from tutelage.store.device import choose_device
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.hashing import by_hash
from tutelage.store.stage import Job
from tutelage.tasks import Examples, task
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.loop import train


def reinforce(job: Job) -> dict[str, Any]:
    """Let the model answer problems and learn from what is right.

    `out` becomes a model directory with both splits and `graded.jsonl` (every held-out problem before and after) under
    `data/`. The returned `before` and `after` are `Graded.figures` on the same held-out problems. Raises InputError
    where the problems cannot be used.
    """
    config, base, out, log, seed = job.config, job.inputs["model"], job.out, job.log, job.seed
    found, audit = _rows(config, job)
    config = with_rewards(config, found.train, log)
    check_gold(config.rewards, [*found.train, *found.heldout])
    tok, model = Tokenizer.load(base), load_base(base, config.lora)
    context = context_of(config.context_length, model.config, log)
    problems = problems_of(tok, found.train, config, context, "training", log)
    heldout = problems_of(tok, found.heldout, config, context, "held out", log)
    write_rows(out / "data" / "train.jsonl", problems.rows)
    write_rows(out / "data" / "heldout.jsonl", heldout.rows)

    before = _graded(base, heldout, config, job, "held-out problems before")
    adapt(model, config.lora, seed, log, job.work)
    objective = Reinforcement(problems, config, reference_of(model, config.beta), seed, log)
    result = train(model, objective, config.training, job.work, log, seed, data_seed=job.data_seed)
    write_model(model, tok, result.curve, out, base, log)
    after = _graded(out, heldout, config, job, "held-out problems after")

    constant = constant_solves(config, problems.rows, heldout.rows)
    write_rows(out / "data" / "graded.jsonl", graded_rows(heldout, config, before, after, constant))
    warn(result.curve, before.figures(), after.figures(), config, log)
    return {
        "rows": len(problems.rows),
        "heldout_rows": len(heldout.rows),
        "left_out": found.left_out,
        "rewards": {name: one.rule for name, one in config.rewards.items()},
        "solved_by": next(iter(passing(config))),
        "before": before.figures(),
        "after": after.figures(),
        **({"constant": round(sum(constant[1]) / len(constant[1]), 4)} if constant else {}),
        "solved": after.figures()["greedy"],
        "solved_before": before.figures()["greedy"],
        **account(audit),
        **run_metrics(result),
    }


def with_rewards(config: ReinforceConfig, rows: list[Row], log: EventLog) -> ReinforceConfig:
    """The settings with rewards: those that are given, or what suits the rows, which is said."""
    if config.rewards:
        return config
    rewards = default_rewards(rows, config.task)
    said = ", ".join(f"{name}: {{rule: {one.rule}}}" for name, one in rewards.items())
    log.note(f"no rewards are named; by the rows they are {said}")
    return config.model_copy(update={"rewards": rewards})


def _graded(directory: Path, problems: Problems, config: ReinforceConfig, job: Job, what: str) -> Graded:
    """By the model as it lies on the disk, adapters merged: what will be used."""
    model = load_model(directory).to(choose_device(config.training.device))
    return grade(LanguageModel(model, problems.tok), problems, config, job.data_seed, what, job.log)


def own_rows(config: ReinforceConfig, log: EventLog, data_seed: int) -> tuple[Split, Audit]:
    """The user's file, split, and the account of it. Raises InputError where it cannot be used."""
    assert config.data is not None
    rows, audit = read_problems(Path(config.data).expanduser(), log, config.columns)
    check_gold(config.rewards or default_rewards(rows, config.task), rows)
    return stratified_split(rows, data_seed, config.heldout, problem_key), audit


def _rows(config: ReinforceConfig, job: Job) -> tuple[Examples, Audit | None]:
    if config.data is not None:
        split, audit = own_rows(config, job.log, job.data_seed)
        split.tell(job.log)
        found = Examples(split.train, split.heldout)
    else:
        assert config.task is not None  # the config is checked for it
        audit = None
        found = task_rows(task(config.task), job.inputs.get("corpus"), job.data_seed)
        if not found.train or not found.heldout:
            raise InputError(f"the task {config.task!r} yields no problems, or none to hold out")
        tell_left_out(found, job.log)
    rows = found.train
    if config.max_rows and len(rows) > config.max_rows:
        job.log.note(f"{len(rows) - config.max_rows} training problems are over max_rows and left out")
        rows = by_hash(rows, job.data_seed)[: config.max_rows]
    return Examples(rows, by_hash(found.heldout, job.data_seed)[: config.max_heldout], found.left_out), audit
