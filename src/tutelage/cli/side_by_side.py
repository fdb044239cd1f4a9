"""`tutelage generate --compare`: one prompt continued with several strategies, with measures of the results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tutelage.cli.options import print_json

if TYPE_CHECKING:
    from tutelage.inference.language_model import LanguageModel


def show(
    lm: LanguageModel, prompt: str, strategies: str | None, max_tokens: int, seed: int, n: int, as_json: bool
) -> None:
    """Print a text and the measures for each strategy; for `n` texts per strategy their means."""
    from tutelage.evaluation.quality.measures import DISTINCT, LOOPS, PERPLEXITY, REPETITION
    from tutelage.evaluation.quality.side_by_side import SHOWN, common_size, measured
    from tutelage.evaluation.quality.strategies import way_of, written

    ways = [one.strip() for one in strategies.split(",")] if strategies else list(SHOWN)
    settings = {way: way_of(way, max_tokens, seed) for way in ways}  # a wrong one is reported before any work
    made = {way: written(lm, prompt, how, n) for way, how in settings.items()}
    size = common_size(list(made.values()))
    rows = {way: measured(of, size) for way, of in made.items()}
    if as_json:
        print_json({way: {**rows[way], "texts": [one.text for one in of]} for way, of in made.items()})
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    shown = (REPETITION, LOOPS, DISTINCT, PERPLEXITY)
    console, table = Console(), Table(show_lines=True)
    table.add_column("way", no_wrap=True)
    table.add_column("text", overflow="fold")
    for way, of in made.items():
        told = [f"{one.name} {_figure(rows[way][one.name], one.unit)}" for one in shown]
        table.add_row("\n".join([f"[bold]{escape(way)}[/bold]", *told]), escape(of[0].text))
    console.print(table, highlight=False)
    said = {"block": size, "reader": "the model itself, after the prompt"}
    for measure in shown:
        note = f"{measure.name}: {measure.definition.format(**said)} {' '.join(measure.cautions)}"
        console.print(note, style="dim", highlight=False, markup=False, soft_wrap=True)


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.0f} %" if unit == "share" else f"{value:.2f}"
