"""Rollouts: answers sampled from the current weights, scored, and packed into rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tutelage.finetuning.reinforce.losses import advantages
from tutelage.finetuning.reinforce.method import Method
from tutelage.inference.language_model import LanguageModel
from tutelage.inference.sampling import Sampling
from tutelage.model.decoder import DecoderLM
from tutelage.store.hashing import sha256_text
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.training.data.batch import Batch
from tutelage.training.data.packing import Example, Segment, pack

PER_ANSWER = ("reward", "spread", "flat", "ended", "advantage", "learned")


@dataclass
class Rollout:
    """`k` answers to each prompt, group after group, as plain data that a checkpoint can hold.

    number: of the rollout, from 0. prompts: row number of each group. ids: of each answer, end token included.
    reward, parts: total, and each part unweighted. spread: standard deviation of the rewards in the group. flat: 1
    if that is 0. learned: 0 for answers that are excluded from the loss. old, reference: log-probabilities of each
    token under the sampling policy and the initial model, if needed.
    """

    number: int
    prompts: list[int]
    ids: list[list[int]]
    texts: list[str]
    ended: list[float]
    parts: dict[str, list[float]] = field(default_factory=dict)
    reward: list[float] = field(default_factory=list)
    spread: list[float] = field(default_factory=list)
    flat: list[float] = field(default_factory=list)
    advantage: list[float] = field(default_factory=list)
    learned: list[float] = field(default_factory=list)
    old: list[list[float]] = field(default_factory=list)
    reference: list[list[float]] = field(default_factory=list)

    @property
    def k(self) -> int:
        return len(self.ids) // len(self.prompts)

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def sample(
    model: DecoderLM, tok: Tokenizer, prompts: Sequence[Sequence[int]], numbers: Sequence[int], k: int,
    sampling: Sampling, number: int, seed: int,
) -> Rollout:  # fmt: skip
    """`k` answers to each of the prompts `numbers`, by the inference engine. Leaves the model in evaluation mode.

    The random draws of answer j to the i-th prompt depend on (seed, rollout, i k + j) only, not on batches, processes
    or earlier samples.
    """
    drawn = int(sha256_text(f"rollout:{seed}:{number}")[:15], 16) % 2**31
    asked = [list(prompts[which]) for which in numbers for _ in range(k)]
    settings = Sampling(
        max_tokens=sampling.max_tokens, temperature=sampling.temperature, stop=sampling.stop, seed=drawn
    )
    made = LanguageModel(model, tok).generate(asked, settings)
    return Rollout(
        number, list(numbers), [one.ids for one in made], [one.text.strip() for one in made],
        [float(one.stop_reason == "stop") for one in made],
    )  # fmt: skip


def judge(rollout: Rollout, parts: Mapping[str, list[float]], reward: list[float], method: Method, mask: bool) -> None:
    """Fill in rewards and advantages. mask: exclude truncated answers; if all are, all advantages are 0."""
    rollout.parts, rollout.reward = dict(parts), reward
    groups = torch.tensor(reward, dtype=torch.float64).view(len(rollout.prompts), rollout.k)
    flat = (groups == groups[:, :1]).all(1, keepdim=True)
    spread = groups.std(1, keepdim=True).masked_fill(flat, 0.0)
    rollout.flat = flat.double().expand_as(groups).flatten().tolist()
    rollout.spread = spread.expand_as(groups).flatten().tolist()
    rollout.advantage = advantages(groups, method.advantage).flatten().tolist()
    rollout.learned = rollout.ended if mask and any(rollout.ended) else [1.0] * len(reward)
    if mask and not any(rollout.ended):
        rollout.advantage = [0.0] * len(reward)


def packed(
    rollout: Rollout, prompts: Sequence[Sequence[int]], groups: NDArray[np.int64], pad_id: int
) -> Batch:  # fmt: skip
    """The answers of these groups with their prompts, each a document; extras repeat per-answer values at each token.

    Weights are 1 for sampled tokens, the end token included, and 0 for prompt tokens.
    """
    examples = []
    for group in groups.tolist():
        prompt = prompts[rollout.prompts[group]]
        for at in range(group * rollout.k, (group + 1) * rollout.k):
            examples.append(Example([_segment(rollout, at, prompt)]))
    rows = pack(examples, max(example.length for example in examples), pad_id)
    return rows.batch(np.arange(len(rows), dtype=np.int64))


def _segment(rollout: Rollout, at: int, prompt: Sequence[int]) -> Segment:
    answer = rollout.ids[at]
    before = [0.0] * (len(prompt) - 1)
    extras: dict[str, Sequence[float]] = {
        name: [*before, *[getattr(rollout, name)[at]] * len(answer)]
        for name in PER_ANSWER
        if getattr(rollout, name)
    }  # fmt: skip
    for name, values in rollout.parts.items():
        extras[f"reward_{name}"] = [*before, *[values[at]] * len(answer)]
    for name in ("old", "reference"):
        if values := getattr(rollout, name):
            extras[name] = [*before, *values[at]]
    tokens = [*prompt, *answer]
    extras["place"] = [*before, *[float(at)] * len(answer)]
    return Segment(tokens[:-1], tokens[1:], [*before, *[1.0] * len(answer)], extras)
