"""The share of held-out problems that a model solves: greedily, and on average over sampled answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tutelage.finetuning.data import Row
from tutelage.finetuning.reinforce.config import ReinforceConfig
from tutelage.finetuning.reinforce.problems import Problems
from tutelage.finetuning.reinforce.rewards import Answer, RewardConfig, final_number, gold_of, needs_gold, scores
from tutelage.store.events import EventLog
from tutelage.store.progress import batches

if TYPE_CHECKING:
    from tutelage.inference.language_model import LanguageModel
    from tutelage.inference.results import Generation

BATCH = 64  # prompts answered between two progress events


@dataclass(frozen=True)
class Graded:
    """Per problem: the greedy answer, whether it is right, its length, and which sampled answers are right."""

    texts: list[str]
    solved: list[bool]
    tokens: list[int]
    sampled: list[list[bool]]

    def figures(self) -> dict[str, float]:
        """`greedy`: share of problems solved; `mean_at_k`: of right samples; `any_of_k`: of problems with one."""
        found = {"greedy": _mean(self.solved), "answer_tokens": round(_mean(self.tokens), 2)}
        if k := len(self.sampled[0]) if self.sampled else 0:
            found[f"mean_at_{k}"] = _mean([_mean(one) for one in self.sampled])
            found[f"any_of_{k}"] = _mean([any(one) for one in self.sampled])
        return {name: round(value, 4) for name, value in found.items()}


def passing(config: ReinforceConfig) -> dict[str, RewardConfig]:
    """The reward that decides whether a problem is solved."""
    name = config.passes or next(iter(config.rewards))
    return {name: config.rewards[name]}


def grade(
    lm: LanguageModel, problems: Problems, config: ReinforceConfig, seed: int, what: str, log: EventLog
) -> Graded:
    """Answers to all problems: greedy, and `mean_at` samples each, from the same seeds for every model."""

    def solved(places: Sequence[int], made: Sequence[Generation]) -> list[bool]:
        answers = [Answer(one.text.strip(), len(one.ids), one.stop_reason == "stop") for one in made]
        (found,) = scores(passing(config), answers, [problems.rows[at] for at in places], config.task).values()
        return [value >= 1 - 1e-9 for value in found]

    texts, flags, tokens, sampled = [], list[bool](), list[int](), list[list[bool]]()
    greedy = replace(problems.sampling, temperature=0.0)
    for part in batches(log, what, range(len(problems.ids)), BATCH, "problems"):
        places = list(part)
        made = lm.generate([problems.ids[at] for at in places], greedy)
        texts += [one.text.strip() for one in made]
        tokens += [len(one.ids) for one in made]
        flags += solved(places, made)
        if k := config.mean_at:
            again = [at for at in places for _ in range(k)]
            drawn = replace(problems.sampling, seed=(seed * 1_000_003 + places[0]) % 2**31)
            hits = solved(again, lm.generate([problems.ids[at] for at in again], drawn))
            sampled += [hits[at : at + k] for at in range(0, len(hits), k)]
    return Graded(texts, flags, tokens, sampled)


def constant_solves(
    config: ReinforceConfig, train: Sequence[Row], heldout: Sequence[Row]
) -> tuple[str, list[bool]] | None:
    """The most frequent gold answer of the training rows and which held-out problems it solves; None without gold."""
    rule = passing(config)
    (one,) = rule.values()
    golds = [gold for row in train if (gold := shown_gold(one, row)) is not None]
    if not golds:
        return None
    if one.rule == "numeric":
        golds = [str(final_number(gold)) for gold in golds]
    answer = Counter(golds).most_common(1)[0][0]
    (found,) = scores(rule, [Answer(answer, 1, True)] * len(heldout), heldout, config.task).values()
    return answer, [value >= 1 - 1e-9 for value in found]


def graded_rows(
    problems: Problems, config: ReinforceConfig, before: Graded, after: Graded, constant: tuple[str, list[bool]] | None
) -> list[dict[str, Any]]:
    """One row per problem with its grading before and after."""
    (one,) = passing(config).values()

    def of(graded: Graded, at: int) -> Mapping[str, Any]:
        return {
            "answer": graded.texts[at],
            "solved": graded.solved[at],
            "sampled": graded.sampled[at] if graded.sampled else [],
        }

    return [
        {
            "id": row["id"],
            "prompt": row["prompt"],
            **({"gold": gold} if (gold := shown_gold(one, row)) is not None else {}),
            "before": of(before, at),
            "after": of(after, at),
            **({"constant": constant[1][at]} if constant else {}),
        }
        for at, row in enumerate(problems.rows)
    ]


def shown_gold(one: RewardConfig, row: Row) -> str | None:
    """The gold answer that the rule compares with, or the reference of the task; None if there is none."""
    if one.rule == "task":
        return str(row["response"]) if row.get("response") is not None else None
    return gold_of(row, one.column) if needs_gold(one) else None


def _mean(values: Sequence[float] | Sequence[bool]) -> float:
    return sum(values) / len(values) if values else 0.0
