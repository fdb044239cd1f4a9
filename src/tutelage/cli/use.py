"""Verbs that use a model: chat, generate, classify, serve, export, import."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from tutelage.cli.options import (
    RUNS,
    Adapter,
    Json,
    Out,
    Source,
    find_adapter,
    find_classifier,
    find_model,
    notes,
    open_model,
    print_json,
)
from tutelage.store.errors import ConfigError, InputError, nearest
from tutelage.store.events import EventLog
from tutelage.store.text import COMPRESSIONS

if TYPE_CHECKING:
    from tutelage.interchange.gguf.writer import KindName

Temperature = Annotated[
    float, typer.Option("--temperature", "-t", help="0 is greedy; 1 samples as trained, e.g. `-t 0.7`.")
]
TopP = Annotated[
    float, typer.Option(help="Sample from the smallest set of tokens with this probability, e.g. `--top-p 0.9`.")
]
MaxTokens = Annotated[int, typer.Option(help="Longest answer in tokens, e.g. `--max-tokens 40`.")]
Seed = Annotated[int, typer.Option(help="Seed of sampling: same seed, same text, e.g. `--seed 7`.")]


def register(app: typer.Typer) -> None:
    for verb in (chat, generate, translate, classify, serve, export):
        app.command()(verb)
    app.command(name="import")(import_)


def chat(
    name: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="The model, as with --model; e.g. `smollm2`.")
    ] = None,
    model: Source = None,
    message: Annotated[
        str | None,
        typer.Option(
            "--message",
            help='Say this, print the answer and end, e.g. `--message "What does close(self) do?"`; '
            "default: a conversation.",
        ),
    ] = None,
    system: Annotated[
        str | None, typer.Option(help='System prompt, e.g. `--system "Answer in one line."`; default: none.')
    ] = None,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    max_tokens: MaxTokens = 128,
    seed: Seed = 0,
    adapter: Adapter = None,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """Talk to a model in the terminal; answers stream as they are made.

    The quickstart's model writes docstrings: try "Write a one-line docstring for `read_rows(path, limit=10)`."

    `tutelage chat smollm2` fetches a model of 135M parameters (98 MB, once) and talks to that.

    Example: `tutelage chat --message "What does close(self) do? Answer in one line."`
    """
    from tutelage.cli.conversation import converse
    from tutelage.inference.sampling import Sampling
    from tutelage.tokenizer.messages import Message

    lm = open_model(name or model, out, adapter=adapter)
    lm.require_text()
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed)
    opening = [Message("system", system)] if system else []
    if message is None:
        converse(lm, sampling, opening)
        return
    answer = lm.chat([*opening, Message("user", message)], sampling)
    if as_json:
        print_json({"text": answer.text, "stop_reason": answer.stop_reason, "tokens": len(answer.ids)})
    else:
        print(answer.text)


def generate(
    prompt: Annotated[str, typer.Argument(help="Text to continue; '-' reads standard input.")],
    model: Source = None,
    temperature: Temperature = 0.8,
    top_p: TopP = 0.95,
    max_tokens: MaxTokens = 100,
    seed: Seed = 0,
    base: Annotated[
        bool,
        typer.Option(help="Of a run, take the pretrained model; `--no-base` takes the one that is talked to."),
    ] = True,
    adapter: Adapter = None,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """Continue a text.

    Example: `tutelage generate "Return the number of" --temperature 0.7`
    """
    from tutelage.inference.sampling import Sampling

    text = sys.stdin.read() if prompt == "-" else prompt
    lm = open_model(model, out, "base" if base else None, adapter)
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed)
    (made,) = lm.generate([text], sampling)
    if as_json:
        print_json({"text": made.text, "stop_reason": made.stop_reason, "tokens": len(made.ids)})
    else:
        print(text + made.text)


def translate(
    texts: Annotated[
        list[str], typer.Argument(metavar="TEXT...", help="Texts; '-' reads one a line from standard input.")
    ],
    model: Source = None,
    to: Annotated[
        str | None, typer.Option(help="The language, of a model that learned both directions, e.g. `--to German`.")
    ] = None,
    max_tokens: MaxTokens = 128,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """Translate texts by a model that `tutelage finetune translate` made, asked as it was trained.

    Example: `tutelage translate "A dog runs over the grass." -m runs/pairs-translate`
    """
    from tutelage.inference.sampling import Sampling

    lines = [line.rstrip("\n") for line in sys.stdin if line.strip()] if texts == ["-"] else texts
    if not lines:
        raise InputError("there is no text to translate: standard input is empty")
    made = open_model(model, out).translate(lines, to, Sampling(max_tokens=max_tokens))
    for text, answer in zip(lines, made, strict=True):
        if answer.stop_reason != "stop":
            print(f"the translation was cut at {max_tokens} tokens: {text[:60]!r}", file=sys.stderr)
        print_json({"text": text, "translation": answer.text, "stop_reason": answer.stop_reason}) if as_json else print(
            answer.text
        )


def classify(
    texts: Annotated[
        list[str],
        typer.Argument(
            metavar="TEXT...|FILE",
            help="Texts to classify, or a file of them (.txt: one a line; .csv, .tsv, .jsonl, .parquet); '-' reads one "
            "per line from standard input.",
        ),
    ],
    model: Source = None,
    column: Annotated[
        str | None, typer.Option(help="Of a table: the column of the texts, e.g. `--column body`.")
    ] = None,
    at_least: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0,
            help="Name a label only where its probability is at least this, else `none`, e.g. `--at-least 0.83`; the "
            "evaluation says from which on a classifier is right in 95 % or more.",
        ),
    ] = 0.0,
    unlike: Annotated[
        float,
        typer.Option(
            min=0.0, max=0.5,
            help="Answer `none of these` to a text that is less like the training texts than all but this share of the "
            "held-out texts, e.g. `--unlike 0.01`: 1 % of fitting texts is then refused, and most foreign ones.",
        ),
    ] = 0.0,
    adapter: Adapter = None,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Classify texts: label and probability. Of a run, by the classifier that its evaluation recommends, be it a model
    or TF-IDF; `-m RUN/STEP` and `-m RUN/tfidf` name one.

    Example: `tutelage classify "Return the shortest path between two nodes."` or `tutelage classify new.csv`
    """
    lines = _texts(texts, column)
    if not lines:
        raise InputError("there is no text to classify: standard input is empty")
    found = _classified(lines, model, out, adapter, unlike > 0)
    for text, probabilities, familiar in zip(lines, found.probabilities, found.familiar, strict=True):
        ranked = sorted(probabilities.items(), key=lambda pair: -pair[1])
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
    """All labels that are likely enough, the likeliest first."""
    chosen = [(label, share) for label, share in ranked if share >= at_least]
    if as_json:
        print_json({"text": text, "labels": [label for label, _ in chosen], "probabilities": dict(ranked)})
    else:
        said = "  ".join(f"{label} {share:.2f}" for label, share in chosen)
        print((said or f"none ({ranked[0][0]} {ranked[0][1]:.2f})") + f"  | {text}")


@dataclass(frozen=True)
class _Classified:
    """Of each text the probability of each label, and how familiar it is (1 where nobody asks)."""

    probabilities: list[dict[str, float]]
    familiar: list[float]
    multi_label: bool


def _classified(
    lines: list[str], model: str | None, out: Path, adapter: Path | None, familiarity_too: bool
) -> _Classified:
    """By a model or by TF-IDF."""
    from tutelage.evaluation.lexical import SETTINGS, LexicalClassifier
    from tutelage.inference.familiarity import familiarity
    from tutelage.interchange.source import is_foreign

    if adapter is not None:
        place = model if model and is_foreign(model) else str(find_model(model, out, "base"))
    else:
        place = model if model and is_foreign(model) else str(find_classifier(model, out))
    if (Path(place) / SETTINGS).is_file():
        if familiarity_too:
            raise ConfigError(
                "TF-IDF cannot tell which texts are like those of its training",
                hint="name a model of the run: -m RUN/head",
            )
        lexical = LexicalClassifier.load(Path(place))
        return _Classified(lexical.classify(lines), [1.0] * len(lines), lexical.multi_label)
    lm = open_model(place, out, adapter=adapter)
    results = lm.classify(lines)
    limit, tok = lm.tokenizer.max_length, lm.tokenizer
    longer = sum(len(tok.framed(ids)) > limit for ids in tok.encode_batch(lines)) if limit else 0
    if longer:
        print(f"{longer} of {len(lines)} texts were read only as far as in training: {limit} tokens", file=sys.stderr)
    familiar = familiarity(lm, Path(place), lines) if familiarity_too else [1.0] * len(lines)
    return _Classified(results, familiar, lm.config.multi_label)


def _texts(given: list[str], column: str | None) -> list[str]:
    """The texts that are meant: those given, those of a file, or lines of standard input."""
    from tutelage.finetuning.data import read_texts

    if given == ["-"]:
        return [line.rstrip("\n") for line in sys.stdin if line.strip()]
    named = [text for text in given if _names_a_file(text)]
    if len(given) == 1 and named:
        if not Path(given[0]).expanduser().is_file():
            raise ConfigError(
                f"there is no file {given[0]}", hint="a text that only looks like one: end it with a space"
            )
        return read_texts(Path(given[0]).expanduser(), column)
    if named or column is not None:
        raise ConfigError(
            "one file is classified at a time, and --column goes with it", hint="tutelage classify new.csv"
        )
    return given


def _names_a_file(text: str) -> bool:
    """Whether a text is the name of a file: it ends as one, and is one word or is there."""
    if not text.lower().endswith(_TEXT_FILES):
        return False
    return len(text.split()) == 1 or (len(text) < 1000 and Path(text).expanduser().is_file())


_TEXT_FILES = (".txt", ".csv", ".tsv", ".psv", ".json", ".jsonl", ".ndjson", ".parquet", *COMPRESSIONS)


def serve(
    model: Source = None,
    host: Annotated[
        str, typer.Option(help="Address, e.g. `--host 0.0.0.0`; any but a loopback one needs --api-key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port, e.g. `--port 8080`.")] = 8000,
    api_key: Annotated[str | None, typer.Option(envvar="TUTELAGE_API_KEY", help="Key that clients must send.")] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DIR",
            help="An adapter beside the model, asked for as `tutelage:NAME`; repeatable, e.g. "
            "`--adapter sql=my-adapter`.",
        ),
    ] = None,
    out: Out = RUNS,
) -> None:
    """Serve a model: an OpenAI-style chat endpoint and a web page to chat on.

    Example: `tutelage serve --port 8000`, then open http://127.0.0.1:8000
    """
    from tutelage.loading import adapted
    from tutelage.serving.app import run_server

    lm = open_model(model, out)
    for name, directory in map(_named, adapter or []):
        lm.adapters[name] = adapted(lm, find_adapter(directory, out))
    run_server(lm, host=host, port=port, api_key=api_key)


def _named(given: str) -> tuple[str, Path]:
    name, equals, directory = given.partition("=")
    if not equals or not re.fullmatch(r"[\w.-]+", name):
        raise ConfigError(f"--adapter {given}: a name and a folder are wanted", hint="e.g. --adapter sql=my-adapter")
    return name, Path(directory)


Kind = Annotated[str, typer.Option(help="Of a .gguf file: f32, f16, bf16, q8_0, q4_0 or q4_1, e.g. `--kind q8_0`.")]


def export(
    target: Annotated[Path, typer.Argument(help="New directory, or a file that ends in .gguf.")],
    model: Source = None,
    kind: Kind = "f16",
    adapter: Adapter = None,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """Export a model, with proof: a Hugging Face directory checked against transformers, or a GGUF file checked
    against llama.cpp, where these are installed.

    Example: `tutelage export my-model` or `tutelage export my-model.gguf --kind q8_0`
    """
    _export(model, target, kind, out, as_json, adapter)


def import_(
    source: Annotated[str, typer.Argument(help="A .gguf file, `smollm2`, org/name on the hub, or a model directory.")],
    target: Annotated[Path, typer.Argument(help="New directory to write to.")],
    as_json: Json = False,
) -> None:
    """Bring a model from elsewhere: written as a Hugging Face directory, checked against transformers.

    Example: `tutelage import smollm2 models/smollm2`
    """
    _export(source, target, "f16", RUNS, as_json)


def _export(source: str | None, target: Path, kind: str, out: Path, as_json: bool, adapter: Path | None = None) -> None:
    from tutelage.interchange.export import export_gguf, export_model, fold_in
    from tutelage.interchange.gguf.writer import KINDS
    from tutelage.interchange.source import is_foreign, locate

    if kind not in KINDS:
        raise ConfigError(f"--kind {kind!r} is not known", hint=nearest(kind, KINDS))
    path = source if source and is_foreign(source) else str(find_model(source, out))
    lm = open_model(path, out, adapter=adapter, fold=False)
    log = EventLog() if as_json else notes()
    found, altered = locate(path, log), "an adapter was folded in" if adapter else ""
    merged = fold_in(lm.model, lm.tokenizer, log) if adapter else None
    if target.suffix == ".gguf":
        result = export_gguf(lm.model, lm.tokenizer, target, log, cast("KindName", kind), "", found, altered)
    else:
        result = export_model(lm.model, lm.tokenizer, target, log, found, altered)
    if as_json:
        print_json(result if merged is None else {**result, "merged": asdict(merged)})
