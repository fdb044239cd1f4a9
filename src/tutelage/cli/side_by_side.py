"""`tutelage generate --compare`: one prompt continued by several ways, with measures of what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tutelage.cli.options import print_json

if TYPE_CHECKING:
    from tutelage.inference.language_model import LanguageModel


def show(
    lm: LanguageModel, prompt: str, strategies: str | None, max_tokens: int, seed: int, n: int, as_json: bool
) -> None:
    """Print a text and the measures for each way; of `n` texts of one way their means."""
    from tutelage.evaluation.quality.measures import DISTINCT, LOOPS, PERPLEXITY, REPETITION, block_size
    from tutelage.evaluation.quality.side_by_side import SHOWN, measured
    from tutelage.evaluation.quality.strategies import way_of, written

    ways = [one.strip() for one in strategies.split(",")] if strategies else list(SHOWN)
    settings = {way: way_of(way, max_tokens, seed) for way in ways}  # a wrong one is said before the work
    made = {way: written(lm, prompt, how, n) for way, how in settings.items()}
    size = block_size([[one.text for one in of] for of in made.values()])
    rows = {way: measured(of, size) for way, of in made.items()}
    if as_json:
        print_json({way: {**rows[way], "texts": [one.text for one in of]} for way, of in made.items()})
        return
    from rich.console import Console
    from rich.table import Table

    console, table = Console(), Table(show_lines=True)
    for name in ("way", "text"):
        table.add_column(name, overflow="fold")
    for measure in (REPETITION, LOOPS, DISTINCT, PERPLEXITY):
        table.add_column(measure.name, justify="right")
    for way, of in made.items():
        cells = [rows[way][measure.name] for measure in (REPETITION, LOOPS, DISTINCT, PERPLEXITY)]
        shares = ["" if cell is None else f"{100 * cell:.0f} %" for cell in cells[:3]]
        likely = "" if cells[3] is None else f"{cells[3]:.2f}"
        table.add_row(_plain(way), _plain(of[0].text), *shares, likely)
    console.print(table, highlight=False)
    said = {"block": size, "reader": "the model itself, after the prompt"}
    for measure in (REPETITION, LOOPS, DISTINCT, PERPLEXITY):
        note = f"{measure.name}: {measure.definition.format(**said)} {' '.join(measure.cautions)}"
        console.print(note, style="dim", highlight=False, markup=False, soft_wrap=True)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
