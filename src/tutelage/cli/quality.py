"""`tutelage quality`: how coherent and varied texts are, across decoding strategies or files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tutelage.cli.options import Json, Source, notes, open_model, print_json
from tutelage.store.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console


def register(app: typer.Typer) -> None:
    app.command()(quality)


def quality(
    texts: Annotated[
        list[Path] | None,
        typer.Argument(help="Files of existing texts: JSON lines with `text` or `answer`. E.g. `a.jsonl b.jsonl`"),
    ] = None,
    model: Source = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="Prompts for --model: JSON lines with `prompt` (and `reference`), or with `text`, whose first twelve "
            "words are the prompt and whose rest is the reference."
        ),
    ] = None,
    strategies: Annotated[
        str | None,
        typer.Option(help="Ways to decode, e.g. `greedy,top_p=0.9+temperature=0.8,beam=4`; default: six."),
    ] = None,
    chat: Annotated[
        bool, typer.Option("--chat", help="Prompt in chat format instead of continuing plain text.")
    ] = False,
    references: Annotated[
        Path | None, typer.Option(help="Human-written texts, as JSON lines; default: the references of the prompts.")
    ] = None,
    under: Annotated[
        str | None,
        typer.Option(
            help="A model that scores all texts: bits per byte, and its hidden states as features of closeness."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=2, help="Use at most this many prompts.")] = 100,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens per text at most.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sampling.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Keep the texts (for `tutelage judge`) and quality.json in this folder."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure text quality without a task: variety, repetition, loops, closeness to human text, each next to the
    references and with what it does not say.

    Example: `tutelage quality -m smollm2 --prompts texts.jsonl`, or of files
    `tutelage quality a.jsonl b.jsonl --references people.jsonl`
    """
    from tutelage.evaluation.quality.report import coherence

    known = _texts(references) if references is not None else None
    parties = {path.stem if len({one.stem for one in texts or []}) == len(texts or []) else str(path): _texts(path)
               for path in texts or []}  # fmt: skip
    if prompts is not None:
        written, given = _written(model, prompts, strategies, chat, limit, max_tokens, seed, out)
        parties |= written
        known = known or given
    elif not parties:
        raise ConfigError("there are no texts", hint="give files of texts, or --model and --prompts to generate some")
    reader = (under, open_model(under)) if under is not None else None
    figures, comparisons = coherence(parties, known, reader)
    found = {"figures": figures, "comparisons": comparisons}
    if out is not None:
        from tutelage.store.files import write_json

        write_json(out / "quality.json", found)
    if as_json:
        print_json(found)
        return
    from rich.console import Console

    _show(Console(), figures, comparisons)


def _texts(path: Path) -> list[str]:
    from tutelage.store.errors import InputError
    from tutelage.store.jsonl import read_rows

    found = []
    for line, row in enumerate(read_rows(path, "give JSON lines with `text` or `answer`"), 1):
        text = next(
            (row[key] for key in ("text", "answer", "response", "output") if isinstance(row.get(key), str)), None
        )
        if text is None:
            raise InputError(f"{path}, row {line}: no text", hint="`text`, `answer`, `response` or `output`")
        found.append(text)
    return found


def _written(
    model: str | None, prompts: Path, strategies: str | None, chat: bool, limit: int, max_tokens: int, seed: int,
    out: Path | None,
) -> tuple[dict[str, list[str]], list[str] | None]:  # fmt: skip
    """Texts of every decoding strategy, and the references, if there are any, truncated to their length."""
    from tutelage.evaluation.quality.strategies import STANDARD, cut_alike, read_openings, way_of, write_texts
    from tutelage.store.jsonl import write_json_lines

    ways = [one.strip() for one in strategies.split(",")] if strategies else list(STANDARD)
    settings = {way: way_of(way, max_tokens, seed) for way in ways}
    asked, references = read_openings(prompts, limit)
    lm = open_model(model)
    lm.require_text()
    found = {}
    for way, how in settings.items():
        found[way] = write_texts(lm, way, asked, how, chat, notes())
        if out is not None:
            rows = [
                {"prompt": prompt, "answer": text, "model": way} for prompt, text in zip(asked, found[way], strict=True)
            ]
            write_json_lines(out / f"{way.replace('=', '')}.jsonl", rows)
    if not all(references):
        return found, None
    return found, cut_alike([text for texts in found.values() for text in texts], references)


def _show(console: Console, figures: list[dict[str, Any]], comparisons: list[Any]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("")
    names = list(dict.fromkeys(row["who"] for figure in figures for row in figure["rows"]))
    for who in names:
        table.add_column(who.replace("=", "=\n").replace("+", "\n"), justify="right", overflow="fold")
    for figure in figures:
        of = {row["who"]: row for row in figure["rows"]}
        table.add_row(figure["measure"], *(_cell(of[who], figure["unit"]) if who in of else "" for who in names))
    console.print(table, highlight=False)
    for figure in figures:
        text = f"{figure['measure']}: {figure['note']} {' '.join(figure['cautions'])}"
        console.print(text, style="dim", highlight=False, markup=False, soft_wrap=True)
    measured = {figure["measure"] for figure in figures}
    if "surprise" in measured and "closeness" not in measured:
        console.print("closeness: needs at least 50 texts of each and 100 references.", style="dim")
    told = [one for one in comparisons if one["outcome"] in ("better", "worse")]
    for one in told:
        console.print(f"{one['measure']}: {one['verdict']}.", highlight=False, markup=False, soft_wrap=True)
    if comparisons and not told:
        console.print("No two differ significantly in loops or repetition.", highlight=False)


def _cell(row: dict[str, Any], unit: str) -> str:
    scale, digits = (100, 1) if unit == "share" else (1, 1) if unit == "0-100" else (1, 2)
    end = " %" if unit == "share" else ""
    value, low, high = row["value"], row["low"], row["high"]
    reach = "" if low is None else f"\n±{scale * (high - low) / 2:.{digits}f}"
    return f"{scale * value:.{digits}f}{end}{reach}"
