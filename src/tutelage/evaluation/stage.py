"""Evaluate all models of a run together: every figure with its interval and its baselines."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from tutelage.evaluation.baselines import Baselines, Document, read_baselines, read_documents
from tutelage.evaluation.clusters import usable
from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.contest import Classifiers
from tutelage.evaluation.endings import ENDS, LOOPS
from tutelage.evaluation.figures import Comparison, Figure, harness_results
from tutelage.evaluation.items import FILE as ITEMS
from tutelage.evaluation.items import Item, answer_items, loss_items, text_items, write_items
from tutelage.evaluation.label_sets import EXACT, MACRO, MICRO, LabelSets
from tutelage.evaluation.labelling import ACCURACY, ECE, F1, KAPPA, MAE
from tutelage.evaluation.language import BITS, ORDER, Likelihoods, language_figures, score_texts
from tutelage.evaluation.learned import learned, with_cautions
from tutelage.evaluation.likelihood import LIKELIER, LOSS, Scored, heldout_rows, likelihood_figures, score_rows
from tutelage.evaluation.overoptimised import Alarm
from tutelage.evaluation.preference import REWARD, pair_figures
from tutelage.evaluation.problems import SAMPLED, SOLVED, problem_figures
from tutelage.evaluation.spec import Evaluation, Subject
from tutelage.evaluation.subjects import PromptSet, prompt_sets
from tutelage.evaluation.texts import MEASURES, answer_samples, read_set, set_figures, text_sets
from tutelage.evaluation.translation import BLEU
from tutelage.evaluation.writing import (
    CHRF,
    ROUGE,
    RULE,
    WIN,
    Answers,
    asked_text,
    choose_prompts,
    write_answers,
    writing_figures,
)
from tutelage.store.errors import InputError
from tutelage.store.files import write_atomic, write_json
from tutelage.store.stage import Job

if TYPE_CHECKING:
    from tutelage.inference.language_model import LanguageModel

HEADLINES = (
    BITS, ORDER, MAE, KAPPA, ACCURACY, F1, ECE, MICRO, MACRO, EXACT, LOSS, LIKELIER, CHRF, BLEU, ROUGE, ENDS, LOOPS,
    RULE, WIN, REWARD, SOLVED, SAMPLED, *MEASURES,
)  # fmt: skip


def evaluate(job: Job) -> dict[str, Any]:
    """Measure every subject on what it can do, one model in memory at a time, with greedy decoding.

    Fills `out` with evaluation.json (figures, comparisons, what was learned, alarms, harness-like results),
    items.parquet (item-level scores) and samples.jsonl. Returns the headline figures, flat, and in a word what each
    step learned. Raises InputError for an input directory of the wrong kind.
    """
    started = time.monotonic()
    whole: Evaluation = job.config
    # A skipped step (for example, no labels in the text) has nothing to measure.
    whole = whole.model_copy(update={"subjects": tuple(one for one in whole.subjects if one.name in job.inputs)})
    config, log, seed = whole.evaluate, job.log, job.data_seed
    models = {subject.name: job.inputs[subject.name] for subject in whole.subjects}
    parents = {subject.name: subject.parent for subject in whole.subjects}
    texts = _HeldoutText.read(job, config) if whole.text else None
    wanted = [name for name in config.tasks if name != "text"]
    sets = prompt_sets(whole.subjects, models, wanted)
    steps = heldout_rows(whole.subjects, models, wanted, config)
    prompts = [choose_prompts(one.heldout, config.prompts) for one in sets]

    further = text_sets(whole.subjects, models, [name for name in config.tasks if name != "text"])

    figures: list[Figure] = []
    comparisons: list[Comparison] = []
    likelihoods: dict[str, Likelihoods] = {}
    answers: list[dict[str, Answers]] = [{} for _ in sets]
    sampled: list[dict[str, Answers]] = [{} for _ in sets]
    scored: list[dict[str, Scored]] = [{} for _ in steps]
    alarms: list[Alarm] = []
    samples: list[dict[str, Any]] = []
    items: list[Item] = []
    labelled, label_sets = Classifiers(config, log), LabelSets(config, log)
    for subject in whole.subjects:
        if subject.makes == "classifier":
            if not config.tasks or subject.name in config.tasks:
                contest = label_sets if subject.heldout == "label sets" else labelled
                contest.predict(subject, models[subject.name], _load(models[subject.name]))
            continue
        if subject.heldout == "pairs" and (not config.tasks or subject.name in config.tasks):
            _extend(figures, comparisons, pair_figures(subject, models[subject.name], config, seed))
        if subject.makes == "reward model":
            continue
        lm = _load(models[subject.name])
        if texts is not None:
            likelihoods[subject.name] = score_texts(lm, subject.name, texts.documents, texts.pairs, config, log)
        for step, by in zip(steps, scored, strict=True):
            if subject.name in step.who:
                by[subject.name] = score_rows(lm, subject.name, step, config, log)
        for one, asked, found, drawn in zip(sets, prompts, answers, sampled, strict=True):
            if subject.name in one.askers:
                chat = _is_asked_in_chat(subject, models)
                one.short = _short(lm, asked, config)
                found[subject.name] = write_answers(lm, subject.name, asked, chat, config, log)
                if few := asked[: config.sampled]:
                    drawn[subject.name] = write_answers(lm, subject.name, few, chat, config, log, temperature=1.0)
        for texts_of_one in further:
            read_set(lm, subject.name, texts_of_one, _is_asked_in_chat(subject, models), config, log)
        if subject.heldout == "problems" and (not config.tasks or subject.name in config.tasks):
            place = models[subject.name]
            graded, compared, shown = problem_figures(subject.name, subject.parent, place, config, seed)
            _extend(figures, comparisons, (graded, compared))
            samples += shown
        if subject.parent is None and texts is not None:
            samples += _continuations(lm, subject.name, texts.documents, config)
        del lm  # one model in memory at a time

    for texts_of_one in further:
        _extend(figures, comparisons, set_figures(texts_of_one, config, seed))
        samples += answer_samples(texts_of_one, config)
    choices, curves = labelled.measure(figures, comparisons, job.out, seed)
    choices += label_sets.measure(figures, comparisons, job.out, seed)
    items += labelled.items()
    if texts is not None and likelihoods:
        _extend(figures, comparisons, language_figures(likelihoods, texts.documents, texts.baselines, config, seed))
        items += text_items(likelihoods, texts.documents, texts.pairs)
    plainly = {subject.name for subject in whole.subjects if not _is_asked_in_chat(subject, models)}
    contests = {subject.name for subject in whole.subjects if subject.heldout == "pairs"}
    for step, by in zip(steps, scored, strict=True):
        _extend(figures, comparisons, likelihood_figures(step, by, config, seed))
        items += loss_items(step, by)
    for one, asked, found, drawn in zip(sets, prompts, answers, sampled, strict=True):
        if found:
            sources = [texts.sources.get(str(item["id"])) if texts is not None else None for item in asked]
            packages = usable(sources)
            *made, raised = writing_figures(
                one, asked, found, parents, contests, plainly, config, seed, drawn, packages
            )
            _extend(figures, comparisons, made)
            alarms += raised
            samples = _samples(one, asked, found, config) + samples
            items += answer_items(one, asked, found, sources)
    if not figures:
        raise InputError("there is nothing to evaluate: no held-out text and no held-out rows")
    with_cautions(comparisons, alarms)
    lines = learned(whole.subjects, figures, comparisons, alarms, config.confidence)
    for raised_alarm in alarms:
        log.warn(raised_alarm["text"])
    more: dict[str, Sequence[Any]] = {"learned": lines, "alarms": alarms, "choices": choices, "curves": curves}
    _write(job.out, config, figures, comparisons, more, samples)
    write_items(job.out / ITEMS, items)
    slow = labelled.milliseconds | label_sets.milliseconds
    timing = {"seconds": round(time.monotonic() - started, 3), "milliseconds_per_text": slow}
    said: dict[str, Any] = {"learned": {line["who"]: line["found"] for line in lines}} if lines else {}
    if alarms:
        said["over_optimised"] = [one["who"] for one in alarms]
    return {**headline_figures(figures), **said, "timing": timing}


class _HeldoutText:
    """Held-out documents and word-order pairs that the baselines were measured on, and document id -> source."""

    def __init__(
        self, baselines: Baselines, documents: list[Document], sources: dict[str, str], config: EvaluateConfig
    ) -> None:
        self.baselines, self.documents, self.sources = baselines, documents, sources
        self.pairs = [pair for pair, _ in baselines.order[: config.order_pairs]]

    @classmethod
    def read(cls, job: Job, config: EvaluateConfig) -> _HeldoutText:
        corpus, measured = job.inputs["corpus"], read_baselines(job.inputs["baselines"])
        by_id = {document.id: document for document in read_documents(corpus / "heldout.parquet")}
        wanted = [record["id"] for record in measured.documents[: config.heldout_documents]]
        if missing := [name for name in wanted if name not in by_id]:
            raise InputError(
                f"{len(missing)} documents of the baselines are missing from {corpus}, the first is {missing[0]}",
                hint="measure the baselines on this corpus",
            )
        sources = {name: document.source for name, document in by_id.items()}
        return cls(measured, [by_id[name] for name in wanted], sources, config)


def _load(path: Path) -> LanguageModel:
    from tutelage.inference.language_model import load

    return load(path)


def _is_asked_in_chat(subject: Subject, models: dict[str, Path]) -> bool:
    """Whether the model is trained for chat, in this run or before it was imported (adopt.json)."""
    if subject.makes == "chat model":
        return True
    try:
        return bool(json.loads((models[subject.name] / "adopt.json").read_text(encoding="utf-8"))["chat"])
    except FileNotFoundError:
        return False


def _short(lm: LanguageModel, asked: Sequence[dict[str, Any]], config: EvaluateConfig) -> list[bool]:
    """Whether each reference plus a stop token fits within the token limit."""
    ids = lm.tokenizer.encode_batch([str(item["response"]) for item in asked])
    return [len(row) < config.max_tokens for row in ids]


def _continuations(
    lm: LanguageModel, who: str, documents: Sequence[Document], config: EvaluateConfig
) -> list[dict[str, Any]]:
    """A base model's continuations of the first third of a few held-out documents."""
    from tutelage.inference.sampling import Sampling

    openings: list[tuple[str, str]] = []
    for document in documents:
        words = document.text.split(" ")
        if len(words) >= 12 and len(openings) < config.continuations:
            cut = min(12, len(words) // 3)
            openings.append((" ".join(words[:cut]), " ".join(words[cut : cut + config.max_tokens])))
    if not openings:
        return []
    made = lm.generate([opening for opening, _ in openings], Sampling(max_tokens=config.max_tokens))
    return [
        {"kind": "continuation", "prompt": opening, "reference": rest, "outputs": {who: generation.text}}
        for (opening, rest), generation in zip(openings, made, strict=True)
    ]


def _samples(
    one: PromptSet, asked: Sequence[dict[str, Any]], found: dict[str, Answers], config: EvaluateConfig
) -> list[dict[str, Any]]:
    return [
        {
            "kind": "answer",
            "set": one.name,
            "prompt": asked_text(item),
            "reference": str(item["response"]),
            "outputs": {who: party.texts[number] for who, party in found.items()},
        }
        for number, item in enumerate(asked[: config.samples])
    ]


def _write(
    out: Path, config: EvaluateConfig, figures: list[Figure], comparisons: list[Comparison],
    more: Mapping[str, Sequence[Any]], samples: list[Any],
) -> None:  # fmt: skip
    z = NormalDist().inv_cdf((1 + config.confidence) / 2)
    write_json(
        out / "evaluation.json",
        {
            "confidence": config.confidence,
            "figures": figures,
            "comparisons": comparisons,
            **more,
            "results": harness_results(figures, z),
        },
    )
    write_atomic(out / "samples.jsonl", "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in samples))


def _extend(figures: list[Figure], comparisons: list[Comparison], more: Sequence[Any]) -> None:
    figures += more[0]
    comparisons += more[1]


def headline_figures(figures: Sequence[Figure]) -> dict[str, float]:
    """`WHO_MEASURE` -> value, for the main measures; the first one if two tasks share a measure."""
    found: dict[str, float] = {}
    for entry in figures:
        if entry["measure"] in HEADLINES:
            for row in entry["rows"]:
                name = "_".join(re.findall(r"[a-z0-9]+", f"{row['who']} {entry['measure']}".lower()))
                found.setdefault(name, float(row["value"]))
    return found
