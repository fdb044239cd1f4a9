"""The problems of reinforcement: from a file or a task, their default rewards, and their split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tutelage.finetuning.common import task_rows, tell_left_out
from tutelage.finetuning.data import Audit, Row, Split, problem_key, read_problems, stratified_split
from tutelage.finetuning.reinforce.config import ReinforceConfig
from tutelage.finetuning.reinforce.rewards import check_gold, default_rewards, ungradable
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.hashing import by_hash
from tutelage.store.stage import Job
from tutelage.tasks import Examples, task


def with_rewards(config: ReinforceConfig, rows: list[Row], log: EventLog) -> ReinforceConfig:
    """The settings with rewards: as given, or the defaults for these rows, which are logged."""
    if config.rewards:
        return config
    rewards = default_rewards(rows, config.task)
    said = ", ".join(f"{name}: {{rule: {one.rule}}}" for name, one in rewards.items())
    log.note(f"no rewards are set; the defaults for these rows are {said}")
    return config.model_copy(update={"rewards": rewards})


def own_rows(config: ReinforceConfig, log: EventLog, data_seed: int) -> tuple[Split, Audit]:
    """The user's file, split, and its audit. Raises InputError if it is unusable."""
    assert config.data is not None

    def grades(rows: Sequence[Row]) -> Callable[[Row], str]:
        rewards = config.rewards or default_rewards(rows, config.task)
        if all(ungradable(rewards, row) for row in rows):
            check_gold(rewards, rows)
        return partial(ungradable, rewards)

    rows, audit = read_problems(Path(config.data).expanduser(), log, config.columns, grades)
    return stratified_split(rows, data_seed, config.heldout, problem_key), audit


def prepare(config: ReinforceConfig, job: Job) -> tuple[Examples, Audit | None]:
    """Training and held-out problems, and the audit of the user's file."""
    if config.data is not None:
        split, audit = own_rows(config, job.log, job.data_seed)
        split.tell(job.log)
        found = Examples(split.train, split.heldout)
    else:
        assert config.task is not None  # checked by the config
        audit = None
        found = task_rows(task(config.task), job.inputs.get("corpus"), job.data_seed)
        if not found.train or not found.heldout:
            raise InputError(f"the task {config.task!r} yields no training problems or no held-out ones")
        tell_left_out(found, job.log)
    train_rows, heldout = limited(config, found.train, found.heldout, job.log, job.data_seed)
    return Examples(train_rows, heldout, found.left_out), audit


def limited(
    config: ReinforceConfig, train_rows: list[Row], heldout: list[Row], log: EventLog, data_seed: int
) -> tuple[list[Row], list[Row]]:
    """At most `max_rows` training and `max_heldout` held-out problems, in hash order."""
    if config.max_rows and len(train_rows) > config.max_rows:
        log.note(f"{len(train_rows) - config.max_rows} training problems beyond max_rows are left out")
        train_rows = by_hash(train_rows, data_seed)[: config.max_rows]
    return train_rows, by_hash(heldout, data_seed)[: config.max_heldout]
