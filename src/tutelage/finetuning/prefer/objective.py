"""Objectives of preference finetuning over packed rows: pairs of answers, and judged answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tutelage.finetuning.prefer.defaults import KNOWN, JudgedLoss, PairLoss
from tutelage.finetuning.prefer.losses import (
    Pairs,
    judged_loss,
    loss_weights,
    preference_loss,
    reference_point,
    rewards,
)
from tutelage.model.decoder import DecoderLM
from tutelage.training.data.batch import Batch
from tutelage.training.data.packing import PackedRows
from tutelage.training.distributed.world import World
from tutelage.training.objective import Loss, stop_probability, target_nll

HELD_OUT = -1  # held-out row r has the number HELD_OUT - r, training row r the number r


class Preference:
    """Learning from pairs (chosen, rejected): two branches of one document, or two documents.

    Extras of the batch: `side`, +1 at tokens of the chosen answer, -1 at those of the rejected one; `pair`, the number
    of the pair; and, for a loss with a reference, `reference`, the reference model's log-probabilities of the target
    tokens. `sft_weight` times the chosen answer's mean negative log-likelihood per token is added pair by pair, so that
    microbatches add up.
    """

    def __init__(
        self,
        train: PackedRows,
        validation: PackedRows,
        kind: PairLoss,
        beta: float,
        label_smoothing: float = 0.0,
        sft_weight: float = 0.0,
        gamma_beta_ratio: float = 0.0,
        stop_ids: Sequence[int] = (),
    ) -> None:
        # The name identifies the run: checkpoints made with another beta are not resumed.
        self.name = f"preference {kind} beta {beta} smoothing {label_smoothing} sft {sft_weight}"
        self.name += f" gamma {gamma_beta_ratio}" if gamma_beta_ratio else ""
        self.rows = {"train": train, "validation": validation}
        self.kind, self.beta, self.sft_weight = kind, beta, sft_weight
        self.label_smoothing, self.gamma_beta_ratio = label_smoothing, gamma_beta_ratio
        self.stop_ids = tuple(stop_ids)

    def loss(self, model: DecoderLM, batch: Batch) -> Loss:
        answers = Answers(model, batch)
        pairs = self._pairs(answers, batch)
        losses = preference_loss(self.kind, pairs, self.beta, self.label_smoothing, self.gamma_beta_ratio)
        if self.sft_weight:
            losses = losses - self.sft_weight * pairs.chosen / pairs.chosen_tokens
        weights, count = loss_weights(self.kind, pairs), _count(losses)
        with torch.no_grad():
            chosen, rejected = rewards(self.kind, pairs, self.beta)
            margin = chosen - rejected
            likelier = pairs.chosen / pairs.chosen_tokens - pairs.rejected / pairs.rejected_tokens
        metrics = {
            "reward_accuracy": (_share_above(margin).sum(), count),
            "margin": (margin.sum(), count),
            "likelihood_accuracy": (_share_above(likelier).sum(), count),
            "chosen_logp": (pairs.chosen.detach().sum(), pairs.chosen_tokens.sum()),
            "rejected_logp": (pairs.rejected.detach().sum(), pairs.rejected_tokens.sum()),
        }
        if self.stop_ids:
            of_chosen, targets = answers.side > 0, batch.targets[answers.at]
            stops = stop_probability(-answers.logprobs[of_chosen], targets[of_chosen], self.stop_ids)
            metrics["stop_probability"] = stops
        return Loss(losses.sum(), weights.sum(), metrics)

    def _pairs(self, answers: Answers, batch: Batch) -> Pairs:
        """The pairs of a batch, with gradient."""
        chosen, rejected = answers.side > 0, answers.side < 0
        ones = torch.ones_like(answers.logprobs)
        found = [answers.sums(values, where) for values in (answers.logprobs, ones) for where in (chosen, rejected)]
        policy_chosen, policy_rejected, chosen_tokens, rejected_tokens = found
        if not KNOWN[self.kind].reference:
            return Pairs.without_reference(policy_chosen, policy_rejected, chosen_tokens, rejected_tokens)
        reference = batch.extras["reference"][answers.at].float()
        before_chosen, before_rejected = answers.sums(reference, chosen), answers.sums(reference, rejected)
        return Pairs(policy_chosen, policy_rejected, before_chosen, before_rejected, chosen_tokens, rejected_tokens)


class Judged:
    """Learning from answers judged one by one, each a document. Extras as for `Preference`.

    `mismatched`: for both splits, prompts with answers to other prompts, with `reference`. KTO's reference point is
    estimated from them once per step, before its microbatches and over all ranks (`prepare`), from one mismatched row
    per row of the step: so the loss does not depend on how the step is divided.
    """

    def __init__(
        self,
        train: PackedRows,
        validation: PackedRows,
        kind: JudgedLoss,
        beta: float,
        desirable_weight: float = 1.0,
        undesirable_weight: float = 1.0,
        mismatched: tuple[PackedRows, PackedRows] | None = None,
    ) -> None:
        self.name = f"preference {kind} beta {beta} weights {desirable_weight} {undesirable_weight}"
        self.rows = {"train": train, "validation": validation}
        self.kind, self.beta, self.weights = kind, beta, (desirable_weight, undesirable_weight)
        self.mismatched = mismatched
        self.point = 0.0
        number_rows(train, validation)

    @torch.no_grad()
    def prepare(self, model: DecoderLM, batches: Sequence[Batch], world: World) -> None:
        """Estimate the reference point of the step that consists of these batches."""
        if self.mismatched is None:
            return
        was_training = model.training
        model.eval()  # without dropout
        total = count = 0.0
        for batch in batches:
            answers, other = self._mismatched_of(model, batch)
            ratios = answers.sums(answers.logprobs - other.extras["reference"][answers.at].float())
            total, count = total + float(ratios.double().sum()), count + len(ratios)
        model.train(was_training)
        total, count = world.sums([total, count])
        self.point = float(reference_point(torch.tensor([total / count], dtype=torch.float64)))

    def _mismatched_of(self, model: DecoderLM, batch: Batch) -> tuple[Answers, Batch]:
        assert self.mismatched is not None
        numbers = batch.extras["row"][:, 0].long().cpu().numpy()
        rows = self.mismatched[int(numbers[0] < 0)]
        place = np.where(numbers < 0, HELD_OUT - numbers, numbers) % len(rows)
        other = rows.batch(place).to(batch.tokens.device)
        return Answers(model, other), other

    def loss(self, model: DecoderLM, batch: Batch) -> Loss:
        answers = Answers(model, batch)
        reference = batch.extras["reference"][answers.at].float()
        logps, tokens = answers.sums(answers.logprobs), answers.sums(torch.ones_like(reference))
        ratios = answers.sums(answers.logprobs - reference)
        desirable = answers.sums(answers.side) > 0
        losses = judged_loss(self.kind, ratios, desirable, self.beta, self.point, *self.weights)
        reward, good, bad = self.beta * ratios.detach(), desirable.float(), (~desirable).float()
        metrics = {
            "chosen_reward": ((reward * good).sum(), good.sum()),
            "rejected_reward": ((reward * bad).sum(), bad.sum()),
            "chosen_logp": ((logps.detach() * good).sum(), (tokens * good).sum()),
            "rejected_logp": ((logps.detach() * bad).sum(), (tokens * bad).sum()),
        }
        return Loss(losses.sum(), _count(losses), metrics)


class Answers:
    """The target tokens of a batch: `logprobs`, `side` and `owner` (index into `numbers`), [tokens]; `at`: their mask.

    numbers: numbers of the pairs (or of the judged answers), ascending.
    """

    def __init__(self, model: DecoderLM, batch: Batch) -> None:
        nll, self.at = target_nll(model, batch)
        self.logprobs, self.side = -nll, batch.extras["side"][self.at]
        self.numbers, self.owner = torch.unique(batch.extras["pair"][self.at], return_inverse=True)

    def sums(self, values: Tensor, where: Tensor | None = None) -> Tensor:
        """`values` [tokens] summed over each pair or answer, [numbers]; only where `where` is true, if given."""
        owner = self.owner if where is None else self.owner[where]
        return values.new_zeros(len(self.numbers)).index_add(0, owner, values if where is None else values[where])


def number_rows(train: PackedRows, validation: PackedRows) -> None:
    """Write the number of each row into its extras, so that a batch knows which rows it holds."""
    for rows, numbers in ((train, np.arange(len(train))), (validation, HELD_OUT - np.arange(len(validation)))):
        rows.extras["row"] = np.repeat(numbers[:, None].astype(np.float32), rows.length, axis=1)


def _count(values: Tensor) -> Tensor:
    return values.new_tensor(float(len(values)))


def _share_above(values: Tensor) -> Tensor:
    """1 where positive, 0 where negative; a tie is a half, so that an untrained policy scores chance."""
    return (values > 0).float() + 0.5 * (values == 0).float()
