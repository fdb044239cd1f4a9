"""Verbs that use a model: chat, translate, serve, export, import."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict
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
    find_model,
    notes,
    open_model,
    print_json,
)
from tutelage.store.errors import ConfigError, InputError, nearest
from tutelage.store.events import EventLog

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
    for verb in (chat, translate, serve, export):
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
