"""All models of a run, measured together: every figure with its interval and its baselines."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from tutelage.evaluation.baselines import Document, read_baselines, read_documents, read_lines
from tutelage.evaluation.config import EvaluateConfig
from tutelage.evaluation.figures import Comparison, Figure, harness_results, value_of
from tutelage.evaluation.labelling import ACCURACY, ECE, F1, TFIDF, classification_figures, predict
from tutelage.evaluation.language import BITS, ORDER, Likelihoods, language_figures, score_texts
from tutelage.evaluation.writing import (
    CHRF,
    ENDS,
    ROUGE,
    RULE,
    WIN,
    Answers,
    baseline_answers,
    choose_prompts,
    graded,
    write_answers,
    writing_figures,
)
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.files import write_atomic, write_json
from tutelage.store.hashing import sha256_text

if TYPE_CHECKING:
    from tutelage.inference.language_model import LanguageModel


def evaluate(
    config: EvaluateConfig,
    corpus: Path,
    baselines: Path,
    base: Path,
    classify: Path | None,
    instruct: Path | None,
    prefer: Path | None,
    out: Path,
    log: EventLog,
    seed: int,
) -> dict[str, Any]:
    """Measure the base model and whichever finetuned ones there are, one loaded at a time, all greedy.

    Fills `out` with evaluation.json (figures, comparisons, harness-like results) and samples.jsonl. Returns
    the headline figures, flat. Raises InputError for a directory that is not what it should be.
    """
    started = time.monotonic()
    measured = read_baselines(baselines)
    documents = _documents(corpus, measured.documents[: config.heldout_documents])
    pairs = [pair for pair, _ in measured.order[: config.order_pairs]]
    train, heldout = _data(instruct) if instruct else ([], [])
    prompts = choose_prompts(heldout, config.prompts)

    likelihoods: dict[str, Likelihoods] = {}
    answers: dict[str, Answers] = {}
    base_chats = _made_to_chat(base)
    continuations: list[dict[str, Any]] = []
    for who, path in (("base", base), ("instruct", instruct), ("prefer", prefer)):
        if path is None:
            continue
        lm = _load(path)
        likelihoods[who] = score_texts(lm, who, documents, pairs, config, log)
        if prompts:
            asked = [str(item["prompt"]) for item in prompts]
            answers[who] = write_answers(lm, who, asked, who != "base" or base_chats, config, log)
        if who == "base":
            continuations = _continuations(lm, documents, config)
        del lm  # one model in memory at a time

    figures, comparisons = language_figures(likelihoods, documents, measured, config, seed)
    if prompts:
        _extend(figures, comparisons, _writing(answers, train, prompts, config, seed, base_chats))
    if classify is not None:
        _extend(figures, comparisons, _classification(classify, config, log, seed))

    z = NormalDist().inv_cdf((1 + config.confidence) / 2)
    write_json(
        out / "evaluation.json",
        {
            "confidence": config.confidence,
            "figures": figures,
            "comparisons": comparisons,
            "results": harness_results(figures, z),
        },
    )
    samples = [
        {
            "kind": "answer",
            "prompt": str(item["prompt"]),
            "reference": str(item["response"]),
            "outputs": {who: party.texts[i] for who, party in answers.items()},
        }
        for i, item in enumerate(prompts[: config.samples])
    ]
    lines = [json.dumps(sample, ensure_ascii=False) + "\n" for sample in samples + continuations]
    write_atomic(out / "samples.jsonl", "".join(lines))
    return {**_headlines(figures), "timing": {"seconds": round(time.monotonic() - started, 3)}}


def _load(path: Path) -> LanguageModel:
    from tutelage.inference.language_model import load

    return load(path)


def _made_to_chat(base: Path) -> bool:
    """Whether the base model came from elsewhere with a chat template (adopt.json)."""
    try:
        return bool(json.loads((base / "adopt.json").read_text(encoding="utf-8"))["chat"])
    except FileNotFoundError:
        return False


def _documents(corpus: Path, records: Sequence[dict[str, Any]]) -> list[Document]:
    """The held-out documents that the baselines were measured on, in their order."""
    by_id = {document.id: document for document in read_documents(corpus / "heldout.parquet")}
    missing = [record["id"] for record in records if record["id"] not in by_id]
    if missing:
        raise InputError(
            f"{len(missing)} documents of the baselines are not in {corpus}, the first is {missing[0]}",
            hint="measure the baselines on this corpus",
        )
    return [by_id[record["id"]] for record in records]


def _data(model: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The train and held-out records that a finetuned model's directory keeps."""
    try:
        return read_lines(model / "data" / "train.jsonl"), read_lines(model / "data" / "heldout.jsonl")
    except FileNotFoundError as error:
        raise InputError(f"{error.filename} is not there", hint="finetune again to write it") from None


def _writing(
    answers: dict[str, Answers],
    train: Sequence[dict[str, Any]],
    prompts: Sequence[dict[str, Any]],
    config: EvaluateConfig,
    seed: int,
    base_chats: bool,
) -> tuple[list[Figure], list[Comparison]]:
    from tutelage.corpus.conventions import check

    everyone = {**answers, **baseline_answers(train, prompts)}
    references = Answers([str(item["response"]) for item in prompts], kind="baseline")
    return writing_figures(
        {who: graded(party, prompts, check) for who, party in everyone.items()},
        graded(references, prompts, check),
        config,
        seed,
        base_chats,
    )


def _classification(
    path: Path, config: EvaluateConfig, log: EventLog, seed: int
) -> tuple[list[Figure], list[Comparison]]:
    train, heldout = _data(path)
    chosen = sorted(heldout, key=lambda item: sha256_text(str(item["id"])))[: config.classify_documents]
    if not train or not chosen:
        raise InputError(f"{path / 'data'} holds no labelled texts", hint="finetune the classifier again")
    prediction = predict(_load(path), [str(item["text"]) for item in chosen], config, log)
    return classification_figures(prediction, train, chosen, config, log, seed)


def _continuations(lm: LanguageModel, documents: Sequence[Document], config: EvaluateConfig) -> list[dict[str, Any]]:
    """How the base model goes on from the first third of a few held-out documents."""
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
        {"kind": "continuation", "prompt": opening, "reference": rest, "outputs": {"base": generation.text}}
        for (opening, rest), generation in zip(openings, made, strict=True)
    ]


def _extend(figures: list[Figure], comparisons: list[Comparison], more: tuple[list[Figure], list[Comparison]]) -> None:
    figures += more[0]
    comparisons += more[1]


def _headlines(figures: Sequence[Figure]) -> dict[str, float]:
    """The few numbers that a summary line shows."""
    wanted = {
        "base_bits_per_byte": (BITS, "base"),
        "ngram_bits_per_byte": (BITS, "n-gram"),
        "xz_primed_bits_per_byte": (BITS, "xz primed"),
        "zstd_primed_bits_per_byte": (BITS, "zstd primed"),
        "base_word_order": (ORDER, "base"),
        "classify_accuracy": (ACCURACY, "classify"),
        "tfidf_accuracy": (ACCURACY, TFIDF),
        "majority_accuracy": (ACCURACY, "majority class"),
        "classify_macro_f1": (F1, "classify"),
        "classify_calibration_error": (ECE, "classify"),
        "base_chrf": (CHRF, "base"),
        "instruct_chrf": (CHRF, "instruct"),
        "prefer_chrf": (CHRF, "prefer"),
        "nearest_neighbour_chrf": (CHRF, "nearest neighbour"),
        "instruct_rouge_l": (ROUGE, "instruct"),
        "instruct_ends_by_itself": (ENDS, "instruct"),
        "prefer_ends_by_itself": (ENDS, "prefer"),
        "instruct_rule_passed": (RULE, "instruct"),
        "prefer_rule_passed": (RULE, "prefer"),
        "prefer_win_rate": (WIN, "prefer"),
    }
    found = {name: value_of(figures, measure, who) for name, (measure, who) in wanted.items()}
    return {name: value for name, value in found.items() if value is not None}
