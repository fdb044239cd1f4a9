"""Verbs that bring a model in or out: export, import."""

from __future__ import annotations

import re
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
    find_model,
    notes,
    open_model,
    print_json,
)
from tutelage.store.errors import ConfigError, nearest
from tutelage.store.events import EventLog

if TYPE_CHECKING:
    from tutelage.interchange.gguf.writer import KindName


def register(app: typer.Typer) -> None:
    app.command()(export)
    app.command(name="import")(import_)


_ENDING = re.compile(r"\.[A-Za-z]+")  # of a file; `my-model.v2` and `qwen2.5` are names of directories

Kind = Annotated[str, typer.Option(help="For a .gguf file: f32, f16, bf16, q8_0, q4_0 or q4_1, e.g. `--kind q8_0`.")]


def export(
    target: Annotated[Path, typer.Argument(help="New directory, or a file that ends in .gguf.")],
    model: Source = None,
    kind: Kind = "f16",
    adapter: Adapter = None,
    program: Annotated[
        str | None,
        typer.Option(
            "--for",
            help="Print how to serve it with vllm, sglang, llama.cpp or transformers: the exact commands, and the "
            "memory needed; e.g. `--for vllm`.",
        ),
    ] = None,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """Export a model and verify it: a Hugging Face directory checked against transformers, or a GGUF file checked
    against llama.cpp, where these are installed.

    Example: `tutelage export my-model` or `tutelage export my-model.gguf --kind q8_0`
    """
    _export(model, target, kind, out, as_json, adapter, program)


def import_(
    source: Annotated[str, typer.Argument(help="A .gguf file, `smollm2`, org/name on the hub, or a model directory.")],
    target: Annotated[Path, typer.Argument(help="New directory to write to.")],
    as_json: Json = False,
) -> None:
    """Import a model from elsewhere: written as a Hugging Face directory and checked against transformers.

    Example: `tutelage import smollm2 models/smollm2`
    """
    _export(source, target, "f16", RUNS, as_json)


def _export(
    source: str | None,
    target: Path,
    kind: str,
    out: Path,
    as_json: bool,
    adapter: Path | None = None,
    program: str | None = None,
) -> None:
    from tutelage.interchange.export import export_gguf, export_model, fold_in
    from tutelage.interchange.gguf.writer import KINDS
    from tutelage.interchange.programs import check_program, plan_lines, serving_plan
    from tutelage.interchange.source import is_foreign, locate

    if program is not None:
        check_program(program, target)
    if _ENDING.fullmatch(target.suffix) and target.suffix != ".gguf" and not target.is_dir():
        raise ConfigError(
            f"{target}: unknown export format {target.suffix}",
            hint="a name that ends in .gguf makes a GGUF file, a name without an ending a Hugging Face directory",
        )
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
    if merged is not None:
        result["merged"] = asdict(merged)
    if program is not None:
        result["serving"] = serving_plan(program, target, lm.config, lm.model.num_parameters())
    if as_json:
        print_json(result)
    elif program is not None:
        print("\n".join(plan_lines(result["serving"], lm.context)))
