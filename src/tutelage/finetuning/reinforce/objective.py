"""Reinforcement over rollouts: the model samples answers before each step; the loss is a policy gradient on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.finetuning.reinforce.config import ReinforceConfig
from tutelage.finetuning.reinforce.losses import kl_estimate
from tutelage.finetuning.reinforce.problems import Problems
from tutelage.finetuning.reinforce.rewards import GOLD, Answer, scores, total
from tutelage.finetuning.reinforce.rollout import Rollout, judge, packed, sample
from tutelage.model.decoder import DecoderLM
from tutelage.store.events import EventLog
from tutelage.store.hashing import sha256_json
from tutelage.training.data.batch import Batch
from tutelage.training.data.position import DataState, row_numbers, shares
from tutelage.training.objective import Loss

PATIENCE = 10  # rollouts without any variance from the start, before a warning

Reference = Callable[[DecoderLM], AbstractContextManager[DecoderLM]]
"""Context manager that gives the initial model: a frozen copy, or the trained one without its adapters."""


class Reinforcement:
    """The on-policy objective. A row of the data is a prompt, a row of a step the group of its answers.

    Log-probabilities are those of the training model at the sampling temperature, so that the policy is the one that
    sampled. With one update per rollout the old ones are the current ones without gradient: the ratio is exactly 1.
    Otherwise they come from a forward pass of the training model, in its precision, before the first update.
    """

    def __init__(
        self, problems: Problems, config: ReinforceConfig, reference: Reference | None, seed: int, log: EventLog
    ) -> None:  # fmt: skip
        settings = config.model_dump(mode="json", exclude={"training", "data", "heldout", "max_heldout", "mean_at"})
        # The name identifies the run: checkpoints made with other rewards are not resumed.
        self.name = f"reinforcement {sha256_json([settings, problems.rows])[:16]}"
        self.rows = {"train": problems.as_rows()}
        self.problems, self.config, self.method = problems, config, config.method()
        self.reference, self.seed, self.log = reference, seed, log
        self.held: Rollout | None = None
        self.without_variance = 0.0

    def collect(
        self, model: DecoderLM, data: DataState, autocast: Callable[[], AbstractContextManager[Any]]
    ) -> Callable[[NDArray[np.int64]], Batch]:
        """The rollout of this step: a new one, or the last one if it has updates left."""
        number = data.sample // self.config.training.batch_rows // self.config.updates_per_rollout
        if self.held is None or self.held.number != number:
            self.held = self._roll_out(model, number, data.seed, autocast)
        return self._batch

    def record(self) -> dict[str, Any]:
        """The rollout, if later steps still need it."""
        return self.held.plain() if self.held is not None and self.config.updates_per_rollout > 1 else {}

    def restore(self, record: dict[str, Any] | None) -> None:
        self.held = Rollout(**record) if record else None

    def loss(self, model: DecoderLM, batch: Batch) -> Loss:
        new, entropy, at = self._logprobs(model, batch)
        extras = {name: values[at] for name, values in batch.extras.items()}
        old = extras.get("old", new.detach())
        reference = extras.get("reference")
        answer, first = _numbered(extras["place"])
        kept = extras["learned"] > 0
        kept_answer, kept_first = _numbered(extras["place"][kept])
        given = (new[kept], old[kept], None if reference is None else reference[kept], extras["advantage"][kept])
        loss, weight = self.method.loss(*given, kept_answer, len(kept_first))
        clipped = self.method.clipped(new.detach(), old, extras["advantage"], answer, len(first))
        tokens, answers = new.new_tensor(float(len(new))), new.new_tensor(float(len(first)))
        names = ["reward", *[name for name in extras if name.startswith("reward_")]]
        metrics = {name: (extras[name][first].sum(), answers) for name in names}
        metrics |= {
            "reward_std": (extras["spread"][first].sum(), answers),
            "zero_variance": (extras["flat"][first].sum(), answers),
            "entropy": (entropy.sum(), tokens),
            "clipped": (clipped.float().sum(), tokens),
            "answer_tokens": (tokens, answers),
            "truncated": ((1 - extras["ended"][first]).sum(), answers),
        }
        if reference is not None:
            metrics["kl"] = (kl_estimate(new.detach(), reference, "k3").sum(), tokens)
        return Loss(loss, weight, metrics)

    def _roll_out(
        self, model: DecoderLM, number: int, data_seed: int, autocast: Callable[[], AbstractContextManager[Any]]
    ) -> Rollout:
        config, problems, rows = self.config, self.problems, self.rows["train"]
        size = config.training.batch_rows
        numbers = row_numbers(rows.sources, DataState(data_seed, number * size), size).tolist()
        model.eval()
        made = sample(model, problems.tok, problems.ids, numbers, config.num_generations, problems.sampling, number,
                      self.seed)  # fmt: skip
        asked = [problems.rows[which] for which in numbers for _ in range(made.k)]
        answers = [Answer(text, len(ids), ended > 0) for text, ids, ended in
                   zip(made.texts, made.ids, made.ended, strict=True)]  # fmt: skip
        parts = scores(config.rewards, answers, asked, config.task)
        reward = total(config.rewards, parts)
        needs_old = config.updates_per_rollout > 1 or (config.beta > 0 and self.method.kl_in_reward)
        old = self._scored(made, model, autocast) if needs_old else []
        if self.reference is not None:
            with self.reference(model) as before:
                made.reference = self._scored(made, before, autocast)
        if self.method.kl_in_reward and config.beta:
            # k1 summed over the answer: the estimator whose gradient, as a reward, is that of the KL.
            kl_of_answers = [sum(own) - sum(other) for own, other in zip(old, made.reference, strict=True)]
            reward = [value - config.beta * kl for value, kl in zip(reward, kl_of_answers, strict=True)]
        if config.updates_per_rollout > 1:
            made.old = old
        judge(made, parts, reward, self.method, config.mask_truncated)
        self._warn_without_variance(made)
        model.train()
        return made

    def _warn_without_variance(self, made: Rollout) -> None:
        """Warn once, early in the run, if no two answers to a prompt have differed in reward so far."""
        self.without_variance = self.without_variance + 1 if all(made.flat) else -math.inf
        if self.without_variance == PATIENCE:
            shown = made.texts[0][:60]
            self.log.warn(
                f"in {PATIENCE} rollouts no two answers to a prompt differed in reward (it is {made.reward[0]:g}): "
                f"the model is not learning. Example answer: {shown!r}; gold answer: {self._gold(made)!r}"
            )

    def _gold(self, made: Rollout) -> str:
        row = self.problems.rows[made.prompts[0]]
        return next((str(row[name])[:60] for name in GOLD if row.get(name) is not None), "")

    def _batch(self, groups: NDArray[np.int64]) -> Batch:
        assert self.held is not None
        return packed(self.held, self.problems.ids, groups, self.problems.tok.pad_id)

    @torch.no_grad()
    def _scored(
        self, rollout: Rollout, model: DecoderLM, autocast: Callable[[], AbstractContextManager[Any]]
    ) -> list[list[float]]:
        """Log-probability of every sampled token under a model, in the precision of training."""
        found: list[list[float]] = [[] for _ in rollout.ids]
        device = next(model.parameters()).device
        for batch in self._parts(rollout):
            with autocast():
                logprobs, _, at = self._logprobs(model, batch.to(device))
            for place, value in zip(batch.extras["place"][at.cpu()].tolist(), logprobs.float().tolist(), strict=True):
                found[int(place)].append(value)
        return found

    def _parts(self, rollout: Rollout) -> Iterator[Batch]:
        training = self.config.training
        for groups in shares(training.batch_rows, training.accumulation):
            yield packed(rollout, self.problems.ids, groups, self.problems.tok.pad_id)

    def _logprobs(self, model: DecoderLM, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probability and entropy of each sampled token, [n], and the mask of these tokens, [rows, length]."""
        hidden = model.hidden(batch.tokens, batch.positions, batch.documents)
        at = batch.weights > 0
        logprobs = (model.logits(hidden[at]) / self.config.temperature).log_softmax(-1)
        chosen = logprobs.gather(-1, batch.targets[at][:, None]).squeeze(-1)
        with torch.no_grad():
            entropy = -(logprobs.exp() * logprobs).sum(-1)
        return chosen, entropy, at


def _numbered(place: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the answer of each token, from 0 without gaps, [n], and position of its first token, [answers]."""
    numbers, answer = torch.unique(place, return_inverse=True)
    first = torch.full((len(numbers),), len(place), dtype=torch.int64, device=place.device)
    first = first.scatter_reduce(0, answer, torch.arange(len(place), device=place.device), "amin")
    return answer, first
