"""The docstring writer: answers to held-out prompts, beside copying and constant answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.constant import best_constant
from tutelage.evaluation.figures import Comparison, Figure, figure, row
from tutelage.evaluation.metrics import chrf, distinct_n, repetition, rouge_l
from tutelage.evaluation.neighbours import NearestNeighbour
from tutelage.evaluation.paired import Resampling, compare_all, compare_wins, compare_within, pairs_of
from tutelage.evaluation.progress import batches
from tutelage.evaluation.statistics import bootstrap_mean, detectable_difference, wilson
from tutelage.store.events import EventLog
from tutelage.store.hashing import sha256_text

if TYPE_CHECKING:
    from tutelage.inference.language_model import LanguageModel

TASK, CHRF, ROUGE, RULE, ENDS = (
    "docstring writing",
    "chrF",
    "ROUGE-L",
    "PEP 257 rule passed",
    "ends by itself",
)
WIN = "win rate by the PEP 257 rule"
Rule = Callable[[str, str, str], Any]  # (text, name, signature) -> something with .score and .passed


@dataclass(frozen=True)
class Answers:
    """One party's answers in the order of the prompts; `ended`: whether each stopped by itself."""

    texts: list[str]
    ended: list[bool] | None = None
    kind: str = "model"
    chrf: list[float] = field(default_factory=list)
    rouge: list[float] = field(default_factory=list)
    rule_score: list[float] = field(default_factory=list)
    rule_passed: list[bool] = field(default_factory=list)


def choose_prompts(heldout: Sequence[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    """A fixed random sample: one prompt for each thing described, in the order of a hash of its id."""
    ordered = sorted(heldout, key=lambda item: sha256_text(f"{item['id']}\0{item['prompt']}"))
    first: dict[tuple[str, str], dict[str, Any]] = {}
    for item in ordered:
        first.setdefault((item.get("name") or item["id"], item.get("signature") or ""), item)
    return list(first.values())[:limit]


def write_answers(
    lm: LanguageModel, who: str, prompts: Sequence[str], chat: bool, config: EvaluateConfig, log: EventLog
) -> Answers:
    """Greedy answers. A chat model gets each prompt as a user message and ends by its stop token; a plain
    model gets the prompt and a line break as text and ends with the line.
    """
    from tutelage.inference.sampling import Sampling
    from tutelage.tokenizer.messages import Message

    sampling = Sampling(max_tokens=config.max_tokens, stop=() if chat else ("\n",))
    texts, ended = [], []
    for part in batches(log, f"{who}: answers", prompts, config.batch, "prompts"):
        if chat:
            made = lm.chat_batch([[Message("user", prompt)] for prompt in part], sampling)
        else:
            made = lm.generate([prompt + "\n" for prompt in part], sampling)
        texts += [generation.text.strip() for generation in made]
        ended += [generation.stop_reason == "stop" for generation in made]
    return Answers(texts, ended)


def baseline_answers(train: Sequence[dict[str, Any]], prompts: Sequence[dict[str, Any]]) -> dict[str, Answers]:
    """Answers that need no model: the nearest training item's, and the best constant one."""
    responses = [str(item["response"]) for item in train]
    nearest = NearestNeighbour([_described(item) for item in train], responses)
    copied = nearest.answers([_described(item) for item in prompts])
    constant = best_constant(responses)
    return {
        "nearest neighbour": Answers(copied, kind="baseline"),
        "constant": Answers([constant] * len(prompts), kind="baseline"),
    }


def _described(item: dict[str, Any]) -> str:
    return f"{item.get('name') or ''} {item.get('signature') or ''}"


def graded(answers: Answers, prompts: Sequence[dict[str, Any]], rule: Rule) -> Answers:
    """The answers with chrF, ROUGE-L and the rule's score for each."""
    references = [str(item["response"]) for item in prompts]
    verdicts = [
        rule(text, item.get("name") or "", item.get("signature") or "")
        for text, item in zip(answers.texts, prompts, strict=True)
    ]
    return Answers(
        answers.texts,
        answers.ended,
        answers.kind,
        chrf(answers.texts, references),
        [rouge_l(text, reference) for text, reference in zip(answers.texts, references, strict=True)],
        [float(verdict.score) for verdict in verdicts],
        [all(verdict.passed.values()) for verdict in verdicts],
    )


def writing_figures(
    parties: dict[str, Answers], references: Answers, config: EvaluateConfig, seed: int, base_chats: bool = False
) -> tuple[list[Figure], list[Comparison]]:
    """Figures and comparisons of graded answers; `references` are the true docstrings, graded alike.

    base_chats: the base model was asked in chat too.
    """
    n = len(references.texts)
    how = Resampling.of(config, seed)
    models = {who: answers for who, answers in parties.items() if answers.kind == "model"}
    everyone = {**parties, "the true docstrings": references}

    def shares(of: dict[str, list[bool]]) -> list[dict[str, Any]]:
        return [row(who, wilson(sum(flags), n, config.confidence), n, everyone[who].kind) for who, flags in of.items()]

    def means(of: dict[str, list[float]]) -> list[dict[str, Any]]:
        return [row(who, bootstrap_mean(values, **how.options), n, everyone[who].kind) for who, values in of.items()]

    plainly = "The base model reads the prompt as plain text and ends with the line; the others are asked in chat."
    asked = f"{n} held-out prompts, greedy. {'All models are asked in chat.' if base_chats else plainly}"
    figures = [
        figure(TASK, CHRF, "0-100", True, means({w: a.chrf for w, a in parties.items()}),
               f"{asked} Mean of sentence chrF2 against the true first line. {_power(models, n, config)}"),
        figure(TASK, ROUGE, "0-100", True, means({w: a.rouge for w, a in parties.items()}),
               "F1 of the longest common subsequence of lower-cased words."),
        figure(TASK, RULE, "share", True, shares({w: a.rule_passed for w, a in everyone.items()}),
               "One line, ends in a period, says what it does, repeats neither itself nor the signature. The "
               "true docstrings under the same rule show how strict it is."),
        figure(TASK, ENDS, "share", True, shares({w: a.ended for w, a in models.items() if a.ended}),
               f"Stopped before {config.max_tokens} tokens."),
        figure(TASK, "distinct-2", "share", True,
               [row(w, distinct_n(a.texts, 2), n, a.kind) for w, a in everyone.items()],
               "Different word pairs of all answers together."),
        figure(TASK, "repetition", "share", False,
               means({w: [repetition(text) for text in a.texts] for w, a in everyone.items()}),
               "Word 3-grams that the same answer had used before."),
    ]  # fmt: skip
    baselines = [who for who in parties if who not in models]
    pairs = pairs_of(list(models), baselines)
    if "prefer" in models and "instruct" in models:
        pairs.remove(("prefer", "instruct"))
    comparisons = compare_all(CHRF, {w: a.chrf for w, a in parties.items()}, pairs, how, unit="chrF")
    if "prefer" in parties and "instruct" in parties:
        pairs.append(("prefer", "instruct"))
    comparisons += compare_all(ROUGE, {w: a.rouge for w, a in parties.items()}, pairs, how, unit="ROUGE-L")
    comparisons += compare_all(RULE, {w: a.rule_passed for w, a in parties.items()}, pairs, how, shares=True)
    comparisons += compare_all(ENDS, {w: a.ended for w, a in models.items() if a.ended}, pairs, how, shares=True)
    if "prefer" in parties and "instruct" in parties:
        prefer, instruct = parties["prefer"], parties["instruct"]
        contest, won = compare_wins("prefer", "instruct", WIN, prefer.rule_score, instruct.rule_score, how)
        rows = [row("prefer", contest.rate, n), row("instruct", 0.5, n, "baseline")]
        figures.append(figure(TASK, WIN, "share", True, rows, contest.note))
        comparisons.append(won)
        comparisons.append(
            compare_within("prefer", "instruct", CHRF, prefer.chrf, instruct.chrf, config.chrf_margin, how, "chrF")
        )
    return figures, comparisons


def _power(models: dict[str, Answers], n: int, config: EvaluateConfig) -> str:
    if n < 2 or len(models) < 2:
        return ""
    first, last = list(models.values())[-2:]
    deviation = float(np.std(np.array(last.chrf) - np.array(first.chrf), ddof=1))
    smallest = detectable_difference(deviation, n, confidence=config.confidence)
    return f"A true paired difference of {smallest:.1f} chrF would be found four times in five."
