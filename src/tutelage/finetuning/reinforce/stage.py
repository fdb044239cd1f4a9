"""The stage of reinforcement finetuning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.finetuning.common import account, adapt, context_of, load_base, run_metrics, write_model
from tutelage.finetuning.data import write_rows
from tutelage.finetuning.preflight.tell import keep_and_tell
from tutelage.finetuning.reinforce.config import ReinforceConfig
from tutelage.finetuning.reinforce.grading import Graded, constant_solves, grade, graded_rows, passing
from tutelage.finetuning.reinforce.objective import Reinforcement
from tutelage.finetuning.reinforce.preflight import problems_account
from tutelage.finetuning.reinforce.problems import Problems, problems_of
from tutelage.finetuning.reinforce.reference import reference_of
from tutelage.finetuning.reinforce.rewards import check_gold
from tutelage.finetuning.reinforce.rows import prepare, with_rewards
from tutelage.finetuning.reinforce.watch import warn
from tutelage.inference.language_model import LanguageModel
from tutelage.model.io import load_model
from tutelage.store.device import choose_device
from tutelage.store.stage import Job
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.loop import train


def reinforce(job: Job) -> dict[str, Any]:
    """Finetune the model on its own answers to problems, rewarded by rules.

    `out` becomes a model directory with both splits and `graded.jsonl` (every held-out problem before and after) under
    `data/`. The returned `before` and `after` are `Graded.figures` on the same held-out problems. Raises InputError
    if the problems are unusable.
    """
    config, base, out, log, seed = job.config, job.inputs["model"], job.out, job.log, job.seed
    found, audit = prepare(config, job)
    config = with_rewards(config, [*found.train, *found.heldout], log)
    check_gold(config.rewards, [*found.train, *found.heldout])
    tok, model = Tokenizer.load(base), load_base(base, config.lora)
    context = context_of(config.context_length, model.config, log)
    keep_and_tell(problems_account(tok, found.train, found.heldout, config, context, audit), out, log)
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


def _graded(directory: Path, problems: Problems, config: ReinforceConfig, job: Job, what: str) -> Graded:
    """Grading of the model as saved, adapters merged: the one that will be used."""
    model = load_model(directory).to(choose_device(config.training.device))
    return grade(LanguageModel(model, problems.tok), problems, config, job.data_seed, what, job.log)
