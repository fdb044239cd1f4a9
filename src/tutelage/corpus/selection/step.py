"""The step of selection: judges every document, keeps what is worth most under the budget, and accounts for it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tutelage.corpus.card import Step, Tally, make_step, tally_rows
from tutelage.corpus.selection.area import Area
from tutelage.corpus.selection.choose import Choice, Places, choose, reasons
from tutelage.corpus.selection.config import SelectConfig
from tutelage.corpus.selection.evidence import imported_scores, likelihood, read_examples
from tutelage.corpus.selection.features import Floats, ranks, sample_places
from tutelage.corpus.selection.quality import ENOUGH, LEAST_REST, REST, differing, train_judge
from tutelage.corpus.selection.relevance import CHECKED, FEWEST, different, log_ratios, relevance, told_apart
from tutelage.corpus.selection.topics import FITTED_ON, effective_topics, find_topics
from tutelage.corpus.selection.variety import variety_of
from tutelage.corpus.shelf import Shelf
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.progress import ticker

if TYPE_CHECKING:
    from tutelage.corpus.config import CorpusConfig

BYTES_A_TOKEN = 4
_SEED = 0  # what is selected does not depend on the data seed, which only splits
_SOURCE_SAMPLE = 20_000  # documents that the words of the corpus are counted in
_LOW = "low quality"
_HARDLY = 0.002  # of the corpus: fewer documents like the examples are as good as none
_UNUSED = 0.2  # of the budget, from which on it is said


@dataclass(frozen=True)
class Judged:
    """What is known of each document: merits (ranks, 0 to 1) by measure, its probability to be good where a classifier
    says it, and the account of how it was judged."""

    merits: dict[str, Floats]
    probability: Floats | None = None
    account: dict[str, Any] = field(default_factory=dict)


def select_documents(
    documents: Shelf, config: CorpusConfig, steps: list[Step], log: EventLog
) -> tuple[Shelf, dict[str, Any]]:
    """(documents that are kept, account for the card). Every removal is counted in `steps` under its reason.

    Raises InputError where the evidence is too little, or nothing would be kept.
    """
    settings = config.select
    assert settings is not None
    log.progress("selection", 0, 3, "steps")
    judged = judge(documents, config, log)
    log.progress("selection", 1, 3, "steps")
    sizes = documents.kept.bytes.astype(np.int64)
    topics = _topics(documents, settings)
    log.progress("selection", 2, 3, "steps")
    good = np.ones(len(documents), bool)
    if settings.min_quality and judged.probability is not None:
        good = judged.probability >= settings.min_quality
    if not good.any():
        raise InputError(
            f"no document reaches corpus.select.min_quality={settings.min_quality:g}",
            hint=f"the best has {float(np.max(judged.probability)):.2f}; lower it",  # type: ignore[arg-type]
        )
    budget = float(settings.tokens * BYTES_A_TOKEN or settings.keep * sizes.sum())
    places = np.flatnonzero(good)
    merits = {name: values[places] for name, values in judged.merits.items()}
    choice = choose(merits, topics[places], sizes[places], settings.weights, budget)
    why = np.full(len(documents), _LOW, object)
    why[places] = reasons(choice, settings.weights)
    kept = documents.only(documents.rows[why == ""])
    if not len(kept):
        raise InputError(
            f"a budget of {budget:,.0f} bytes holds no document",
            hint="raise corpus.select.tokens or corpus.select.keep",
        )
    tally = Tally()
    for reason in sorted(set(why.tolist()) - {""}):
        tally.add(tally_rows(documents, reason, documents.rows[why == reason]))
    steps.append(make_step("selection", _what(settings, budget), documents, kept, tally))
    went = ", ".join(f"{count:,} went as {reason}" for reason, count in sorted(tally.removed.items()))
    log.note(
        f"selection: {len(kept):,} of {len(documents):,} documents stay, {kept.size / 1e6:,.2f} of "
        f"{documents.size / 1e6:,.2f} MB{'; ' if went else ''}{went}"
    )
    if kept.size < (1 - _UNUSED) * min(budget, float(sizes[good].sum())):
        log.warn(
            f"selection uses {kept.size:,} of {budget:,.0f} bytes of the budget: what is left has documents that are "
            "longer than the room for them; corpus.max_characters cuts long ones"
        )
    account = {
        **judged.account,
        "weights": {name: round(weight, 4) for name, weight in settings.weights.items()},
        "budget_bytes": round(budget),
        "bytes": kept.size,
        "trade_off": _trade_off(merits, topics[places], sizes[places], settings, budget),
        "variety": {"before": variety_of(documents), "after": variety_of(kept)},
    }
    log.progress("selection", 3, 3, "steps")
    return kept, account


def judge(documents: Shelf, config: CorpusConfig, log: EventLog) -> Judged:
    """Quality and relevance of each document, by what evidence the settings give."""
    settings = config.select
    assert settings is not None
    merits: dict[str, Floats] = {}
    account: dict[str, Any] = {}
    probability = None
    if settings.good:
        probability, account["quality"] = _by_examples(documents, config, log)
        merits["quality"] = ranks(probability)
    elif settings.scores:
        scores, missing = imported_scores(settings.scores, documents)
        if missing:
            log.warn(f"{missing:,} of {len(documents):,} documents have no score and get the median")
        merits["quality"], account["quality"] = ranks(scores), {"by": "imported scores", "missing": missing}
    elif settings.model:
        tick = ticker(log, "likelihood under the model", len(documents), "documents")
        found = likelihood(documents.texts(), settings.model, tick)
        merits["quality"] = ranks(found)
        account["quality"] = {"by": "a model", "bits_per_byte": round(-float(found.mean()), 4)}
    if settings.target:
        merits["relevance"], account["relevance"] = _by_target(documents, config, log)
    return Judged(merits, probability, account)


def _by_examples(documents: Shelf, config: CorpusConfig, log: EventLog) -> tuple[Floats, dict[str, Any]]:
    assert config.select is not None
    good = read_examples(config.select.good, config, "good")
    rest = _sample(documents, max(LEAST_REST, REST * len(good)))
    model, report = train_judge(good, rest.texts(), _SEED)
    auc = report.auc
    said = f"AUC {auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]"
    log.note(
        f"quality: {report.good:,} good examples against {report.rest:,} documents, {said} on rows not seen; a judge "
        f"by length alone {report.auc_by_length.value:.3f}. {differing(auc)}"
    )
    if report.good < ENOUGH:
        log.warn(f"{report.good:,} good examples are few; with {ENOUGH} or more the judge of quality is steadier")
    if auc.low <= 0.5:
        log.warn(
            f"the good examples are not told from the rest of the corpus ({said}; 0.5 is chance): either nearly all of "
            "it is as good as they are, or they differ in what words do not show. What goes as lower quality goes by "
            "chance, as far as can be seen; corpus.select.quality=0 selects without it"
        )
    _warn_of_none(auc, "the good examples", log)
    return model.probabilities(documents.texts()), {"by": "examples", **asdict(report)}


def _warn_of_none(auc: Area, examples: str, log: EventLog) -> None:
    """Where examples are told from every document (a share s of documents like them keeps the area at 1 - s / 2), the
    ranking is among documents of other kinds, and says little."""
    like = 2 * (1 - auc.value)
    if like < _HARDLY:
        log.warn(
            f"beside {examples} themselves hardly any document of the corpus is like them (at most {like:.1%}): they "
            "are told from all the others, as texts in another language or form would be, and what is kept is only the "
            "least unlike. Compare a few of both"
        )


def _by_target(documents: Shelf, config: CorpusConfig, log: EventLog) -> tuple[Floats, dict[str, Any]]:
    from scipy.stats import spearmanr

    assert config.select is not None
    target = different(read_examples(config.select.target, config, "target"))
    if len(target) < FEWEST:
        raise InputError(
            f"corpus.select.target holds {len(target)} different texts; with fewer than {FEWEST} nobody can tell "
            "whether they lead to more of their kind",
            hint=f"give {FEWEST} or more (50 are better), or leave it out and select by corpus.select.good",
        )
    sample = _sample(documents, _SOURCE_SAMPLE)
    check = told_apart(target, list(_sample(documents, CHECKED).texts()))
    said = f"{check.value:.3f} [{check.low:.3f}, {check.high:.3f}]"
    if check.low <= 0.5:
        raise InputError(
            f"the {len(target):,} texts of corpus.select.target do not say what is relevant: one of them that the "
            f"weights were not made of outranks a document of the corpus in a share of {said} of pairs; 0.5 is chance",
            hint="give more texts of the target, or leave corpus.select.target out: the corpus may be all of its kind",
        )
    _warn_of_none(check, "the texts of corpus.select.target", log)
    ratios = log_ratios(target, sample.texts())
    found = relevance(documents.texts(), ratios)
    merit = ranks(found.shrunk)
    lengths = documents.kept.chars
    by_length = float(spearmanr(merit, lengths).statistic) if len(lengths) > 2 and np.ptp(lengths) else 0.0
    account = {
        "target": len(target),
        "auc": asdict(check),
        "mean_weight": round(float(found.weight.mean()), 4),
        "best_weight": round(float(found.weight.max()), 4),
        "correlation_with_length": round(by_length, 4),
    }
    log.note(
        f"relevance: {len(target):,} target texts; one that the weights were not made of outranks a document of the "
        f"corpus in a share of {said} of pairs (0.5 is chance); rank correlation with length {by_length:+.2f}"
    )
    return merit, account


def _sample(documents: Shelf, most: int) -> Shelf:
    return documents.only(documents.rows[sample_places(len(documents), most, _SEED)])


def _topics(documents: Shelf, settings: SelectConfig) -> Places:
    """Topic of each document; one for all where diversity does not count."""
    if "diversity" not in settings.weights:
        return np.zeros(len(documents), np.int64)
    return find_topics(_sample(documents, FITTED_ON).texts(), settings.clusters, _SEED).of(documents.texts())


def _trade_off(
    merits: dict[str, Floats], topics: Places, sizes: Places, settings: SelectConfig, budget: float
) -> list[dict[str, Any]]:
    """What was chosen beside what each measure alone would have chosen: mean ranks, and topics that it amounts to."""
    rows = [("as set", choose(merits, topics, sizes, settings.weights, budget))]
    for name in settings.weights if len(settings.weights) > 1 else ():
        rows.append((f"{name} alone", choose(merits, topics, sizes, {name: 1.0}, budget)))
    everything = Choice(np.ones(len(sizes), bool), {})
    return [_described(name, one, merits, topics, sizes) for name, one in [*rows, ("everything", everything)]]


def _described(name: str, choice: Choice, merits: dict[str, Floats], topics: Places, sizes: Places) -> dict[str, Any]:
    weight = sizes[choice.kept] / max(1, sizes[choice.kept].sum())
    mass = np.bincount(topics[choice.kept], sizes[choice.kept]).astype(np.float64)
    return {
        "by": name,
        "documents": int(choice.kept.sum()),
        **{measure: round(float((values[choice.kept] * weight).sum()), 4) for measure, values in merits.items()},
        "topics": int((mass > 0).sum()),
        "effective_topics": round(effective_topics(mass), 2),
    }


def _what(settings: SelectConfig, budget: float) -> str:
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in settings.weights.items())
    least = (
        f" Documents below a probability of {settings.min_quality:g} to be good go first."
        if settings.min_quality
        else ""
    )
    return f"{budget / 1e6:,.2f} MB are kept, by {weights}.{least}"
