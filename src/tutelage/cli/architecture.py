"""Verbs that look at architectures: model describe, model compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tutelage.cli.options import RUNS, Json, Out, find_model, notes, print_json
from tutelage.store.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from tutelage.model.config import ModelConfig

model = typer.Typer(name="model", help="Inspect architectures: what a model is made of and what it costs.")
Context = Annotated[int | None, typer.Option(help="Tokens of context to count costs at, e.g. `--context 4096`.", min=1)]
WHAT = "A run, artifact, model directory, .gguf file, recipe (.yaml), `smollm2`, or org/name on the hub."
_BAR = 30


def register(app: typer.Typer) -> None:
    model.command()(describe)
    model.command()(compare)
    app.add_typer(model)


def describe(
    source: Annotated[str | None, typer.Argument(metavar="[MODEL]", help=f"{WHAT} Default: the last run.")] = None,
    context: Context = None,
    svg: Annotated[
        Path | None, typer.Option(help="Write a drawing to this file as well, e.g. `--svg model.svg`.")
    ] = None,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """Describe a model: its parts, how many parameters each has, and what training and inference cost.

    Example: `tutelage model describe smollm2 --svg smollm2.svg`
    """
    from rich.console import Console

    from tutelage.report.architecture import drawing
    from tutelage.store.files import write_atomic

    config = read_config(source, out)
    name = source or "the last run's model"
    facts = costs(config, context)
    if svg is not None:
        write_atomic(svg, drawing(config, Path(name).name))
    if as_json:
        print_json(facts)
        return
    console = Console()
    _stack(console, config, name)
    _table(console, {name: facts})
    if svg is not None:
        console.print(f"Drawing: {svg}", highlight=False)


def compare(
    sources: Annotated[list[str], typer.Argument(metavar="MODEL...", help=f"Two or more. {WHAT}")],
    context: Context = None,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """Compare architectures side by side.

    Example: `tutelage model compare runs/quickstart smollm2`
    """
    from rich.console import Console

    if len(sources) < 2:
        raise ConfigError("two or more models are needed", hint="tutelage model compare A B")
    facts = {source: costs(read_config(source, out), context) for source in sources}
    if as_json:
        print_json(facts)
    else:
        _table(Console(), facts)


def read_config(source: str | None, root: Path) -> ModelConfig:
    """The architecture that the user named, without reading any weights."""
    from tutelage.guidance.costs import with_vocabulary
    from tutelage.interchange.source import is_foreign
    from tutelage.interchange.source import read_config as read_foreign
    from tutelage.model.hf_config import load_config
    from tutelage.recipe.config import load_recipe
    from tutelage.tokenizer.forecast import expected_size

    if source and is_foreign(source):
        return read_foreign(source, notes())
    if source and source.endswith((".yaml", ".yml")):
        recipe = load_recipe(Path(source))
        return with_vocabulary(recipe.model, expected_size(recipe.tokenizer))
    return load_config(find_model(source, root))


def costs(config: ModelConfig, context: int | None) -> dict[str, Any]:
    """Everything shown about a model, as plain data. `context` None: its longest, but at most 4,096."""
    from tutelage.guidance.costs import model_facts
    from tutelage.model.describe import features

    context = min(context or min(config.max_position_embeddings, 4096), config.max_position_embeddings)
    facts = model_facts(config, context, rows=1)
    return {
        "family": config.family,
        "made of": features(config),
        "layers": config.num_layers,
        "longest context": config.max_position_embeddings,
        "context": context,
        **facts,
        "serving_bytes": facts["weights_bytes"] // 2
        + (facts["kv_bytes_per_token"] * context + facts["state_bytes"]) // 2,
    }


def _stack(console: Console, config: ModelConfig, name: str) -> None:
    """The drawing for a terminal: from the logits down to the tokens."""
    from rich.markup import escape

    from tutelage.model.describe import features
    from tutelage.report.architecture import layer_groups

    said = features(config)
    console.print(f"[bold]{escape(name)}[/] · {config.family}", highlight=False)
    lines = [("logits", said["head"]), ("norm", said["norm"])]
    for count, layer in reversed(layer_groups(config)):
        experts = config.has_experts(layer)
        lines.append((f"{count} × feed-forward", said["experts"] if experts else said.get("feed-forward", "")))
        kind = config.layer_type(layer)
        window = f", over the last {config.sliding_window}" if kind == "sliding" else ""
        mixing = "gated delta rule" if kind == "delta" else said.get("attention", "") + window
        lines.append((f"{count} × mixing", mixing))
    lines += [("positions", said["positions"]), ("embedding", said["embedding"])]
    width = max(len(left) for left, _ in lines)
    for left, right in lines:
        console.print(f"  {left:>{width}}  [cyan]│[/] {escape(right)}", highlight=False)


def _table(console: Console, facts: dict[str, dict[str, Any]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from tutelage.store.format import compact, percent, size

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in facts:
        table.add_column(escape(name), justify="left" if len(facts) == 1 else "right", overflow="fold")

    def row(label: str, values: list[str]) -> None:
        if any(values):
            table.add_row(label, *map(escape, values))

    each = list(facts.values())
    if len(each) > 1:
        row("family", [f["family"] for f in each])
        for part in dict.fromkeys(part for f in each for part in f["made of"]):
            row(part, [f["made of"].get(part, "") for f in each])
        row("layers", [str(f["layers"]) for f in each])
    row("parameters", [compact(f["parameters"]) for f in each])
    for part in each[0]["parameters_by_part"]:
        shares = [f["parameters_by_part"][part] / f["parameters"] for f in each]
        bars = ["█" * round(_BAR * share) if len(each) == 1 else "" for share in shares]
        row(
            f"  {part.replace('_', ' ')}",
            [
                f"{compact(f['parameters_by_part'][part])} · {percent(share)} {bar}".rstrip() if share else ""
                for f, share, bar in zip(each, shares, bars, strict=True)
            ],
        )
    row("longest context", [f"{f['longest context']:,}" for f in each])
    row("counted at", [f"{f['context']:,} tokens" for f in each])
    row("FLOPs per token, training", [compact(f["training_flops_per_token"]) for f in each])
    row("FLOPs per token, decoding", [compact(f["forward_flops_per_token"]) for f in each])
    row("cache per token, 16 bits", [size(f["kv_bytes_per_token"] / 2) for f in each])
    row("state, independent of length", [size(f["state_bytes"]) if f["state_bytes"] else "" for f in each])
    row("memory to train one row, 32 bits", [size(f["training_bytes"]) for f in each])
    row("memory to serve one text, 16 bits", [size(f["serving_bytes"]) for f in each])
    console.print(table)
