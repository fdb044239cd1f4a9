"""`tutelage classify`: by a model or by TF-IDF, and which texts none of the labels fits."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from tutelage.cli.options import (
    RUNS,
    Adapter,
    FoundClassifier,
    Json,
    Out,
    Source,
    find_classifier,
    find_model,
    open_model,
    print_json,
)
from tutelage.store.errors import ConfigError, InputError
from tutelage.store.text import COMPRESSIONS


def register(app: typer.Typer) -> None:
    app.command()(classify)


def classify(
    texts: Annotated[
        list[str],
        typer.Argument(
            metavar="TEXT...|FILE",
            help="Texts to classify, or a file of them (.txt: one per line; .csv, .tsv, .xlsx, .jsonl, .parquet); '-' "
            "reads one per line from standard input.",
        ),
    ],
    model: Source = None,
    column: Annotated[
        str | None, typer.Option(help="For a table: the column of the texts, e.g. `--column body`.")
    ] = None,
    at_least: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0,
            help="Answer `none` unless the label's probability is at least this, e.g. `--at-least 0.83`; the "
                 "evaluation "
            "says above which one a classifier is right in 95 % or more.",
        ),
    ] = 0.0,
    unlike: Annotated[
        float,
        typer.Option(
            min=0.0, max=0.5,
            help="Answer `none of these` to a text that is less like the training texts than all but this share of the "
            "held-out texts, e.g. `--unlike 0.01`: then 1 % of fitting texts are refused, and most off-topic ones.",
        ),
    ] = 0.0,
    adapter: Adapter = None,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Classify texts: label and probability. For a run, with the classifier that its evaluation recommends: a model,
    TF-IDF, or both; `-m RUN/STEP`, `-m RUN/tfidf` and `-m RUN/STEP+tfidf` name one.

    Example: `tutelage classify "Return the shortest path between two nodes."` or `tutelage classify new.csv`
    """
    from tutelage.model.ordinal import chosen_label

    lines = _texts(texts, column)
    if not lines:
        raise InputError("nothing to classify: standard input is empty")
    found = _classified(lines, model, out, adapter, unlike > 0)
    for text, probabilities, familiar in zip(lines, found.probabilities, found.familiar, strict=True):
        named = chosen_label(probabilities, found.order)
        ranked = sorted(probabilities.items(), key=lambda pair: (pair[0] != named, -pair[1]))
        foreign = unlike > 0 and familiar < unlike
        if found.multi_label:
            _show_label_set(text, ranked, at_least or 0.5, as_json)
        elif as_json:
            label = None if foreign or ranked[0][1] < at_least else ranked[0][0]
            more = {"familiar": round(familiar, 6)} if unlike else {}
            print_json({"text": text, "label": label, "probabilities": dict(ranked), **more})
        else:
            said = "  ".join(f"{label} {share:.2f}" for label, share in ranked[:3])
            none = "none of these" if foreign else "none" if ranked[0][1] < at_least else ""
            print((f"{none} ({said})" if none else said) + f"  | {text}")


def _show_label_set(text: str, ranked: list[tuple[str, float]], at_least: float, as_json: bool) -> None:
    """All labels that are likely enough, the most likely first."""
    chosen = [(label, share) for label, share in ranked if share >= at_least]
    if as_json:
        print_json({"text": text, "labels": [label for label, _ in chosen], "probabilities": dict(ranked)})
    else:
        said = "  ".join(f"{label} {share:.2f}" for label, share in chosen)
        print((said or f"none ({ranked[0][0]} {ranked[0][1]:.2f})") + f"  | {text}")


@dataclass(frozen=True)
class _Classified:
    """For each text the probability of each label, and how familiar the text is (1 if not asked for). order: of ordered
    labels; the median is predicted."""

    probabilities: list[dict[str, float]]
    familiar: list[float]
    multi_label: bool
    order: tuple[str, ...] = ()


def _classified(
    lines: list[str], model: str | None, out: Path, adapter: Path | None, familiarity_too: bool
) -> _Classified:
    """By a model or by TF-IDF."""
    from tutelage.evaluation.combined import Combined
    from tutelage.evaluation.lexical import SETTINGS, LexicalClassifier
    from tutelage.inference.familiarity import familiarity
    from tutelage.interchange.source import is_foreign

    foreign = bool(model) and is_foreign(str(model))
    meant: FoundClassifier | None
    if adapter is not None:
        meant = FoundClassifier(find_model(model, out, "base")) if not foreign else None
    else:
        meant = find_classifier(model, out) if not foreign else None
    place = str(meant.place) if meant else str(model)
    if (Path(place) / SETTINGS).is_file():
        if familiarity_too:
            raise ConfigError(
                "TF-IDF cannot tell which texts are like those of its training",
                hint="name a model of the run: -m RUN/head",
            )
        lexical = LexicalClassifier.load(Path(place))
        return _Classified(lexical.classify(lines), [1.0] * len(lines), lexical.multi_label, lexical.order)
    lm = open_model(place, out, adapter=adapter)
    both = Combined.load(meant.combined) if meant and meant.combined else None
    results = both.classify(lm, lines) if both else lm.classify(lines)
    limit, tok = lm.tokenizer.max_length, lm.tokenizer
    longer = sum(len(tok.framed(ids)) > limit for ids in tok.encode_batch(lines)) if limit else 0
    if longer:
        print(f"{longer} of {len(lines)} texts were read only as far as in training: {limit} tokens", file=sys.stderr)
    familiar = familiarity(lm, Path(place), lines) if familiarity_too else [1.0] * len(lines)
    order = lm.config.labels if lm.config.ordinal else ()
    return _Classified(results, familiar, lm.config.multi_label, order)


def _texts(given: list[str], column: str | None) -> list[str]:
    """The texts to classify: those given, those of a file, or lines of standard input."""
    from tutelage.finetuning.data import read_texts

    if given == ["-"]:
        return [line.rstrip("\n") for line in sys.stdin if line.strip()]
    if len(given) == 1 and len(given[0]) < 1000 and Path(given[0]).expanduser().is_dir():
        raise ConfigError(f"{given[0]} is a folder", hint="name a file in it; if it is a text, end it with a space")
    named = [text for text in given if _names_a_file(text)]
    if len(given) == 1 and named:
        if not Path(given[0]).expanduser().is_file():
            raise ConfigError(
                f"{given[0]} does not exist", hint="if it is a text and not a file name, add a space at the end"
            )
        return read_texts(Path(given[0]).expanduser(), column)
    if named or column is not None:
        raise ConfigError(
            "one file is classified at a time, and --column goes with it", hint="tutelage classify new.csv"
        )
    return given


def _names_a_file(text: str) -> bool:
    """Whether a text is the name of a file: it ends like one, and is one word or exists."""
    if not text.lower().endswith(_TEXT_FILES):
        return False
    return len(text.split()) == 1 or (len(text) < 1000 and Path(text).expanduser().is_file())


_TEXT_FILES = (".txt", ".csv", ".tsv", ".psv", ".json", ".jsonl", ".ndjson", ".parquet", ".arrow", ".xlsx", ".xls",
               ".ods", *COMPRESSIONS)  # fmt: skip
