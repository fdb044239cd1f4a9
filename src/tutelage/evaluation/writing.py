"""Answers to held-out prompts, against copied and constant answers, graded by reference and by the task's rule."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tutelage.evaluation.clusters import ratio_interval, share_interval
from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.constant import best_constant
from tutelage.evaluation.endings import Ending, ending_figures
from tutelage.evaluation.figures import Comparison, Figure, figure, row
from tutelage.evaluation.metrics import chrf, distinct_n, repetition, rouge_l
from tutelage.evaluation.neighbours import NearestNeighbour
from tutelage.evaluation.overoptimised import Alarm, alarm
from tutelage.evaluation.paired import Clusters, Resampling, compare_all, compare_wins, compare_within
from tutelage.evaluation.preference import judged_by_words
from tutelage.evaluation.statistics import Interval, detectable_difference
from tutelage.evaluation.subjects import PromptSet
from tutelage.evaluation.translation import COPY, are_translations, bleu_figure
from tutelage.store.events import EventLog
from tutelage.store.hashing import sha256_text
from tutelage.store.progress import batches
from tutelage.tasks import Grade

if TYPE_CHECKING:
    from tutelage.inference.language_model import LanguageModel

CHRF, ROUGE, RULE, WIN = "chrF", "ROUGE-L", "rule passed", "win rate"


Row = dict[str, Any]


@dataclass(frozen=True)
class Answers:
    """One system's answers in prompt order; `ended`: whether each stopped before the token limit."""

    texts: list[str]
    ended: list[bool] | None = None
    kind: str = "model"
    chrf: list[float] = field(default_factory=list)
    rouge: list[float] = field(default_factory=list)
    rule_score: list[float] = field(default_factory=list)
    rule_passed: list[bool] = field(default_factory=list)


def choose_prompts(heldout: Sequence[dict[str, Any]], limit: int) -> list[Row]:
    """A fixed random sample: one prompt per item described, in the order of a hash of its id."""
    ordered = sorted(heldout, key=lambda item: sha256_text(f"{item['id']}\0{item['prompt']}"))
    first: dict[tuple[str, str], dict[str, Any]] = {}
    for item in ordered:
        first.setdefault((item.get("name") or item["id"], item.get("signature") or ""), item)
    return list(first.values())[:limit]


def write_answers(
    lm: LanguageModel, who: str, prompts: Sequence[Row], chat: bool, config: EvaluateConfig, log: EventLog,
    temperature: float = 0.0,
) -> Answers:  # fmt: skip
    """Generate greedy or sampled answers. A chat model gets all turns before the response (`asked`) and ends with its
    stop token; a base model gets them as plain text plus a line break and ends at the end of the line.
    """
    from tutelage.inference.sampling import Sampling
    from tutelage.tokenizer.messages import message_of

    sampling = Sampling(max_tokens=config.max_tokens, temperature=temperature, stop=() if chat else ("\n",))
    what = f"{who}: sampled answers" if temperature else f"{who}: answers"
    texts, ended = [], []
    for part in batches(log, what, prompts, config.batch, "prompts"):
        if chat:
            asked = [[message_of(turn) for turn in item["asked"]] for item in part]
            tools = [item.get("tools") for item in part]
            made = lm.chat_batch(asked, sampling, tools) if any(tools) else lm.chat_batch(asked, sampling)
        else:
            made = lm.generate([asked_text(item) + "\n" for item in part], sampling)
        texts += [generation.text.strip() for generation in made]
        ended += [generation.stop_reason == "stop" for generation in made]
    return Answers(texts, ended)


def asked_text(item: Row) -> str:
    """All turns before the response, as one text."""
    return "\n".join(str(turn["content"]) for turn in item["asked"])


def baseline_answers(
    train: Sequence[Row], prompts: Sequence[Row], described: Callable[[Row], str]
) -> dict[str, Answers]:
    """Baseline answers: the nearest training row's, and the best constant one."""
    responses = [str(item["response"]) for item in train]
    nearest = NearestNeighbour([described(item) for item in train], responses)
    constant = best_constant(responses)
    return {
        "nearest neighbour": Answers(nearest.answers([described(item) for item in prompts]), kind="baseline"),
        "constant": Answers([constant] * len(prompts), kind="baseline"),
    }


def graded(answers: Answers, prompts: Sequence[Row], grade: Callable[[str, Row], Grade] | None) -> Answers:
    """The answers with chrF, ROUGE-L and, if the task has a rule, its score for each."""
    references = [str(item["response"]) for item in prompts]
    grades = [grade(text, item) for text, item in zip(answers.texts, prompts, strict=True)] if grade else []
    return Answers(
        answers.texts,
        answers.ended,
        answers.kind,
        chrf(answers.texts, references),
        [rouge_l(text, reference) for text, reference in zip(answers.texts, references, strict=True)],
        [float(found.score) for found in grades],
        [found.perfect for found in grades],
    )


def writing_figures(
    one: PromptSet,
    prompts: Sequence[Row],
    found: Mapping[str, Answers],
    parents: Mapping[str, str | None],
    contests: Collection[str],
    plainly: Collection[str],
    config: EvaluateConfig,
    seed: int,
    sampled: Mapping[str, Answers] | None = None,
    clusters: Clusters = None,
) -> tuple[list[Figure], list[Comparison], list[Alarm]]:
    """Figures and comparisons of the models' answers to one set of prompts, and over-optimisation alarms.

    parents: the parent of each model. contests: preference-trained models, compared with their parent by the task's
    rule or, without one, by the words of the training pairs. plainly: models prompted with plain text, not in chat
    format. sampled: answers to the first of the prompts. clusters: the cluster of each prompt, if clusters are the
    units.
    """
    n = len(prompts)
    grade = one.task.grade if one.task else None
    described = one.task.described if one.task else asked_text
    how = Resampling.of(config, seed)
    rivals = baseline_answers(one.train, prompts, described)
    if translated := are_translations(prompts):
        rivals[COPY] = Answers([str(item["source"]) for item in prompts], kind="baseline")
    parties = {who: graded(party, prompts, grade) for who, party in {**found, **rivals}.items()}
    references = graded(
        Answers([str(item["response"]) for item in prompts], one.short, kind="reference"), prompts, grade
    )
    name = one.task.references if one.task else "the references"
    everyone = {**parties, name: references}
    models = {who: answers for who, answers in parties.items() if answers.kind == "model"}

    def shares(of: dict[str, list[bool]]) -> list[dict[str, Any]]:
        return [
            row(who, share_interval(flags, clusters, config.confidence), n, everyone[who].kind)
            for who, flags in of.items()
        ]

    def mean(values: Sequence[float]) -> Interval:
        return ratio_interval(values, np.ones(n), clusters, **how.options)

    def means(of: dict[str, list[float]]) -> list[dict[str, Any]]:
        return [row(who, mean(values), n, everyone[who].kind) for who, values in of.items()]

    cautions = " ".join(one.task.cautions) if one.task else ""
    figures = [
        figure(one.title, CHRF, "0-100", True, means({w: a.chrf for w, a in parties.items()}),
               f"{n} held-out prompts, greedy. {_how_asked(models, plainly)} Mean of sentence chrF2 against the "
               f"reference. {_power(models, n, config)}{_packages(clusters)}"),
        figure(one.title, ROUGE, "0-100", True, means({w: a.rouge for w, a in parties.items()}),
               "F1 of the longest common subsequence of lower-cased words."),
        figure(one.title, "distinct-2", "share", True,
               [row(w, distinct_n(a.texts, 2), n, a.kind) for w, a in everyone.items()],
               "Share of distinct word pairs over all answers."),
        figure(one.title, "repetition", "share", False,
               means({w: [repetition(text) for text in a.texts] for w, a in everyone.items()}),
               "Share of word 3-grams that occurred earlier in the same answer."),
    ]  # fmt: skip
    if translated:
        kinds = {who: party.kind for who, party in parties.items()}
        said = {who: party.texts for who, party in parties.items()}
        figures.insert(1, bleu_figure(one.title, said, kinds, [str(item["response"]) for item in prompts], how))
    if one.task and grade:
        passed = shares({who: answers.rule_passed for who, answers in everyone.items()})
        figures.insert(2, figure(one.title, RULE, "share", True, passed, f"{one.task.rule}. {cautions}".strip()))
    baselines = [who for who in parties if who not in models]
    learned = [(who, str(parents[who])) for who in models if who in contests and parents[who] in models]
    pairs = _pairs(list(models), baselines, parents)
    comparisons = compare_all(
        CHRF, {w: a.chrf for w, a in parties.items()}, [pair for pair in pairs if pair not in learned], how,
        unit="chrF", clusters=clusters,
    )  # fmt: skip
    comparisons += compare_all(ROUGE, {w: a.rouge for w, a in parties.items()}, pairs, how, unit="ROUGE-L",
                               clusters=clusters)  # fmt: skip
    if grade:
        comparisons += compare_all(RULE, {w: a.rule_passed for w, a in parties.items()}, pairs, how, shares=True,
                                   clusters=clusters)  # fmt: skip
    endings = ending_figures(
        one.title, {who: _ending(party) for who, party in models.items()},
        {who: _ending(party) for who, party in (sampled or {}).items()}, (name, _ending(references)), pairs,
        config.max_tokens, how, clusters,
    )  # fmt: skip
    figures += endings[0]
    comparisons += endings[1]
    for who, origin in learned:
        after, before = parties[who], parties[origin]
        scores: Sequence[Any] = [after.rule_score, before.rule_score]
        by = f"by the {one.task.rule}" if one.task else ""
        if not grade and (judged := judged_by_words(one.train, one.heldout, [after.texts, before.texts], seed)):
            scores, by = judged
        if len(scores[0]):
            contest, won = compare_wins(who, origin, WIN, scores[0], scores[1], how, clusters)
            rows = [row(who, contest.rate, n), row(origin, 0.5, n)]
            figures.append(figure(one.title, WIN, "share", True, rows, f"{by[0].upper()}{by[1:]}: {contest.note}"))
            comparisons.append(won)
        comparisons.append(compare_within(who, origin, CHRF, after.chrf, before.chrf, config.chrf_margin, how, "chrF",
                                          clusters))  # fmt: skip
    alarms = []
    for who, party in models.items():
        if (parent := parents[who]) is None:
            continue
        chatted = (parent, models[parent].texts) if parent in models and parent not in plainly else None
        raised = alarm(
            who, one.title, party.texts, party.rule_passed, one.task.rule if one.task else "", chatted,
            (name, references.texts, references.rule_passed), how,
        )  # fmt: skip
        alarms += [raised] if raised else []
    return figures, comparisons, alarms


def _packages(clusters: Clusters) -> str:
    return "" if clusters is None else f" Sources of the prompts as clusters ({len(set(clusters))} of them)."


def _ending(party: Answers) -> Ending:
    return Ending.of(party.texts, party.ended)


def _pairs(models: Sequence[str], baselines: Sequence[str], parents: Mapping[str, str | None]) -> list[tuple[str, str]]:
    """Pairs to compare: every model with every baseline, and a finetuned one with its ancestors."""
    against = [(model, baseline) for model in models for baseline in baselines]
    finetuned = [model for model in models if parents[model] is not None]
    return against + [(who, before) for who in finetuned for before in models[: models.index(who)]]


def _how_asked(models: Mapping[str, Answers], plainly: Collection[str]) -> str:
    plain = [who for who in models if who in plainly]
    if not plain:
        return "All models use chat format."
    reads = "read" if len(plain) > 1 else "reads"
    return f"{' and '.join(plain)} {reads} prompts as plain text and ends with the line; others use chat format."


def _power(models: Mapping[str, Answers], n: int, config: EvaluateConfig) -> str:
    if n < 2 or len(models) < 2:
        return ""
    first, last = list(models.values())[-2:]
    deviation = float(np.std(np.array(last.chrf) - np.array(first.chrf), ddof=1))
    smallest = detectable_difference(deviation, n, confidence=config.confidence)
    return f"A true paired difference of {smallest:.1f} chrF is detected with 80 % power."
