"""`tutelage serve`: a model behind an HTTP API and a web page."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from tutelage.cli.options import RUNS, Out, Source, WeightsOption, find_adapter, find_model, notes, open_model
from tutelage.cli.speculating import Draft, Speculate, set_up
from tutelage.cli.trace import indices_of, training_text
from tutelage.store.errors import ConfigError

LIMITS = "Limits"


def register(app: typer.Typer) -> None:
    app.command()(serve)


def serve(
    name: Annotated[
        str | None, typer.Argument(metavar="[MODEL]", help="The model, as with --model; e.g. `smollm2`.")
    ] = None,
    model: Source = None,
    host: Annotated[
        str, typer.Option(help="Address, e.g. `--host 0.0.0.0`; any but a loopback one needs --api-key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port, e.g. `--port 8080`.")] = 8000,
    api_key: Annotated[str | None, typer.Option(envvar="TUTELAGE_API_KEY", help="Key that clients must send.")] = None,
    weights: WeightsOption = "auto",
    speculate: Speculate = None,
    draft: Draft = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DIR",
            help="An adapter beside the model, asked for as `tutelage:NAME`; repeatable, e.g. "
            "`--adapter sql=my-adapter`.",
        ),
    ] = None,
    classifier: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=MODEL",
            help="A classifier beside the model, asked at /v1/decisions; repeatable, e.g. "
            "`--classifier spam=runs/sms-classify`.",
        ),
    ] = None,
    trace: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help="Show in the chat what of an answer stands word by word in this text: that of a run, of a model that "
            "was pretrained here, or a corpus; repeatable, e.g. `--trace runs/quickstart`.",
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            help="Processes that share the address, each with the model, its share of the processors and the limits "
            "below, e.g. `--workers 4`.",
        ),
    ] = 1,
    max_tokens: Annotated[
        int,
        typer.Option(
            min=1, help="Longest answer a request may ask for, e.g. `--max-tokens 512`.", rich_help_panel=LIMITS
        ),
    ] = 4096,
    max_choices: Annotated[
        int, typer.Option(min=1, help="Answers to one prompt (`n`), e.g. `--max-choices 1`.", rich_help_panel=LIMITS)
    ] = 8,
    max_prompts: Annotated[
        int,
        typer.Option(
            min=1, help="Prompts in one request to /v1/completions, e.g. `--max-prompts 8`.", rich_help_panel=LIMITS
        ),
    ] = 64,
    max_body: Annotated[
        int, typer.Option(min=1, help="Bytes of a request, e.g. `--max-body 65536`.", rich_help_panel=LIMITS)
    ] = 1 << 20,
    queue: Annotated[
        int,
        typer.Option(
            min=0, help="Requests that may wait; one more gets a 429, e.g. `--queue 4`.", rich_help_panel=LIMITS
        ),
    ] = 16,
    together: Annotated[
        int,
        typer.Option(min=1, help="Answers made at the same time, e.g. `--together 16`.", rich_help_panel=LIMITS),
    ] = 8,
    connections: Annotated[
        int,
        typer.Option(
            min=1,
            help="Requests under way in all, streams included; one more gets a 503, e.g. `--connections 16`.",
            rich_help_panel=LIMITS,
        ),
    ] = 64,
    timeout: Annotated[
        float,
        typer.Option(
            min=0.1, help="Seconds for an answer, waiting included, e.g. `--timeout 60`.", rich_help_panel=LIMITS
        ),
    ] = 300.0,
    body_timeout: Annotated[
        float,
        typer.Option(
            min=0.1,
            help="Seconds within which a request must have come whole, e.g. `--body-timeout 5`.",
            rich_help_panel=LIMITS,
        ),
    ] = 10.0,
    drain: Annotated[
        float,
        typer.Option(
            min=0,
            help="Seconds in which answers under way are finished after SIGTERM or Ctrl-C, e.g. `--drain 30`.",
            rich_help_panel=LIMITS,
        ),
    ] = 3.0,
    out: Out = RUNS,
) -> None:
    """Serve a model: an OpenAI-style chat endpoint and a web page to chat on.

    Example: `tutelage serve --port 8000`, then open http://127.0.0.1:8000; or `tutelage serve smollm2`
    """
    from tutelage.loading import adapted
    from tutelage.serving.app import address, listening, run_server
    from tutelage.serving.protocol import Limits
    from tutelage.serving.workers import Place, run_workers

    place = Place.own()
    read = [training_text(find_model(source, out)) for source in trace or []]
    if workers > 1 and place is None:
        if read:  # made once, before all workers need it
            indices_of(read, open_model(name or model, out, weights=weights).tokenizer)
        with listening(host, port, api_key) as listener:
            served = f"tutelage is served at {address(listener)} by {workers} processes (Ctrl-C ends)"
            run_workers([sys.executable, "-m", "tutelage", *sys.argv[1:]], workers, listener, served, drain)
        return
    limits = Limits(
        body_bytes=max_body,
        head_seconds=body_timeout,
        body_seconds=body_timeout,
        max_tokens=max_tokens,
        choices=max_choices,
        prompts=max_prompts,
        waiting=queue,
        together=together,
        connections=connections,
        seconds=timeout,
        drain_seconds=drain,
    )
    lm = open_model(name or model, out, weights="float32" if adapter and weights == "auto" else weights)
    for called, directory in map(_named, adapter or []):
        lm.adapters[called] = adapted(lm, find_adapter(directory, out), notes())
    set_up(lm, speculate, draft, out, weights)
    classifiers = {called: open_model(str(place), out, "classifier") for called, place in map(_named, classifier or [])}
    traced = indices_of(read, lm.tokenizer)
    run_server(
        lm, host=host, port=port, api_key=api_key, limits=limits, classifiers=classifiers, place=place, traced=traced
    )


def _named(given: str) -> tuple[str, Path]:
    name, equals, directory = given.partition("=")
    if not equals or not re.fullmatch(r"[\w.-]+", name):
        raise ConfigError(f"{given!r}: expected a name and a folder", hint="e.g. sql=my-adapter")
    return name, Path(directory)
