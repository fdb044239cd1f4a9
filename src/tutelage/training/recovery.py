"""Save, resume and roll back: the link between the training state and its checkpoints."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import Any

from tutelage.store.errors import DamagedError, TrainingError
from tutelage.training.checkpoint.folder import ROLLBACK
from tutelage.training.checkpoint.reader import load_latest, load_step
from tutelage.training.checkpoint.tensors import trained_state
from tutelage.training.checkpoint.writer import CheckpointWriter
from tutelage.training.objective import OnPolicy
from tutelage.training.setup import Setup
from tutelage.training.state import TrainingState


class Recovery:
    """The checkpoints of one training run."""

    def __init__(self, setup: Setup, state: TrainingState) -> None:
        self.setup, self.state = setup, state
        self.writer = CheckpointWriter(
            setup.checkpoints, setup.config.keep_checkpoints, setup.world, setup.layout
        )  # fmt: skip
        self._last_save = time.monotonic()

    def resume(self) -> None:
        """Load the newest intact checkpoint, if there is one."""
        setup, state = self.setup, self.state
        if not setup.checkpoints.exists():
            return
        fresh = {name: value.clone() for name, value in trained_state(setup.model).items()}
        saved = load_latest(setup.checkpoints, setup.model, setup.optimizers, setup.fingerprint, setup.log, setup.world,
                            setup.average.tensors())  # fmt: skip
        self.writer.scan()
        if saved is None:
            setup.model.load_state_dict(fresh, strict=False)
        else:
            state.restore(saved)
            self._restore_collected(saved.get("collected"))
            setup.log.note(f"resuming from step {state.step} of {setup.steps}")

    def due(self) -> bool:
        """Whether a checkpoint is due by this rank's clock."""
        return time.monotonic() - self._last_save >= self.setup.config.checkpoint_seconds

    def save(self, marks: Collection[str] = ()) -> None:
        setup = self.setup
        record = {**self.state.record(), "fingerprint": setup.fingerprint}
        if isinstance(setup.objective, OnPolicy):
            record["collected"] = setup.objective.record()
        self.writer.save(self.state.step, setup.model, setup.optimizers, record, setup.average.tensors(), marks)
        self._last_save = time.monotonic()

    def save_and_wait(self) -> None:
        self.save()
        self.writer.wait()

    def writing(self) -> AbstractContextManager[CheckpointWriter]:
        """Context in which checkpoints may be written; at its end all writes have finished."""
        return self.writer

    def load(self, step: int) -> dict[str, Any]:
        """Load the checkpoint of that step into model, optimizers and average. Raises DamagedError."""
        setup = self.setup
        self.writer.wait()
        return load_step(setup.checkpoints, step, setup.model, setup.optimizers, setup.fingerprint,
                         setup.average.tensors())  # fmt: skip

    def load_best(self, step: int) -> None:
        """Load the weights of the best validation; if they are damaged, keep the last ones with a warning."""
        try:
            self.load(step)
        except DamagedError as error:
            self.setup.log.warn(f"{error.message}; the last weights are kept instead of the best")

    def roll_back(self) -> None:
        """Roll the weights back to before the spikes, but not the data position: the rows in between are skipped."""
        config, state, log = self.setup.config, self.state, self.setup.log
        step, why, rollbacks = state.step, state.watch.why, state.result.rollbacks
        sample, tokens = state.data.sample, state.result.tokens
        if len(rollbacks) >= config.max_rollbacks:
            raise TrainingError(
                f"{why} at step {step}, after {config.max_rollbacks} rollbacks",
                hint="lower learning_rate, raise warmup_steps, or look at the rows of the warnings in events.jsonl",
            )
        state.restore(self._load_before(step - state.watch.bad))
        self._restore_collected(None)
        self.writer.drop_after(state.step)
        rollbacks = [*rollbacks, {"from": step, "to": state.step, "why": why}]
        log.warn(f"step {step}: {why}; rolled back to step {state.step}, samples {state.data.sample} to {sample} are "
                 "skipped", step=step, to=state.step, samples=[state.data.sample, sample])  # fmt: skip
        state.data.sample, state.result.rollbacks, state.result.tokens = sample, rollbacks, tokens

    def _restore_collected(self, record: dict[str, Any] | None) -> None:
        if isinstance(self.setup.objective, OnPolicy):
            self.setup.objective.restore(record)

    def _load_before(self, step: int) -> dict[str, Any]:
        """Load the last rollback checkpoint from before `step`; the weights at `step` are already bad."""
        self.writer.wait()
        self.setup.world.wait()
        for target in sorted((at for at in self.writer.marked[ROLLBACK] if at < step), reverse=True):
            try:
                return self.load(target)
            except DamagedError as error:
                self.setup.log.warn(f"{error.message}; rolling back further")
        raise TrainingError(
            f"{self.state.watch.why}, and there is no intact checkpoint from before step {step} to roll back to",
            hint="lower learning_rate, raise warmup_steps, or look at the rows of the warnings in events.jsonl",
        )
