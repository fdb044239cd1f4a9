"""`tutelage trace`: which spans of a text occur verbatim in the model's training data."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tutelage.cli.options import RUNS, Json, Out, Source, find_model, notes, print_json
from tutelage.store.errors import ConfigError, InputError

if TYPE_CHECKING:
    from rich.console import Console

    from tutelage.pretraining.trace import Index, Span, Use
    from tutelage.recipe.lineage import Ancestor
    from tutelage.tokenizer.tokenizer import Tokenizer

COLOURS = ("black on yellow", "black on cyan", "black on green", "black on magenta")


def register(app: typer.Typer) -> None:
    app.command()(trace)


def trace(
    text: Annotated[str | None, typer.Argument(help="The text to look up; `-` reads it from standard input.")] = None,
    model: Source = None,
    generate: Annotated[
        str | None,
        typer.Option("--generate", metavar="PROMPT", help="Instead continue this prompt and look up the model's text."),
    ] = None,
    least: Annotated[int, typer.Option(min=1, help="Shortest span that counts, in words.")] = 6,
    max_tokens: Annotated[int, typer.Option(min=1, help="With --generate: most tokens to generate.")] = 128,
    temperature: Annotated[
        float, typer.Option(min=0, help="With --generate: sampling temperature; 0 is greedy.")
    ] = 0.7,
    seed: Annotated[int, typer.Option(help="With --generate: seed of the sampling.")] = 1,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """Show which spans of a text, or of a generation, occur verbatim in the model's training text, and in which
    documents. The corpus is indexed once (a suffix array in `work/`); after that every lookup is fast.

    Example: `tutelage trace "Return the number of items in the container." -m runs/quickstart`
    """
    from tutelage.pretraining.trace import covered
    from tutelage.pretraining.trace import trace as traced
    from tutelage.tokenizer.tokenizer import Tokenizer

    if (text is None) == (generate is None):
        raise ConfigError("give a text, or --generate PROMPT", hint='e.g. tutelage trace "Return the number of"')
    place = find_model(model, out)
    read = training_text(place)
    tokenizer = Tokenizer.load(place)
    if generate is not None:
        text = written(place, generate, max_tokens, temperature, seed)
    elif text == "-":
        text = sys.stdin.read()
    assert text is not None
    indices = indices_of([read], tokenizer)
    spans = traced(text, indices, tokenizer, least)
    share = covered(spans) / max(1, len(text))
    if as_json:
        print_json({"text": text, "least_words": least, "share": share, "corpora": [str(one) for one in read.corpora],
                    "spans": [asdict(span) for span in spans]})  # fmt: skip
        return
    from rich.console import Console

    show(Console(), text, spans, share, least)


@dataclass(frozen=True)
class TrainingText:
    """The corpora that a model was trained on, by which stages, and the folder for their indices."""

    corpora: dict[Path, list[Use]]
    work: Path


def training_text(place: Path) -> TrainingText:
    """What a model at this path, and its ancestors, were trained on; for a corpus: itself. Raises InputError if none
    of it is here."""
    from tutelage.recipe.lineage import lineage

    ancestor = lineage(place)
    corpora = corpora_of(ancestor)
    for gone in [path for path in corpora if not (path / "train.parquet").is_file()]:
        notes().warn(f"{gone}, which was mixed in, is no longer there and is not searched")
        del corpora[gone]
    if not corpora or ancestor.artifact is None:
        raise InputError(f"the text that {place} was trained on is not here", hint="a model that was pretrained here")
    return TrainingText(corpora, ancestor.artifact.path.parent.parent / "work")


def indices_of(texts: Sequence[TrainingText], tokenizer: Tokenizer) -> list[Index]:
    """The index of each corpus, made now if it is not in `work/` next to the artifacts."""
    from tutelage.pretraining.trace import open_index

    return [
        open_index(corpus, tokenizer, text.work, notes(), uses)
        for text in texts
        for corpus, uses in text.corpora.items()
    ]


def corpora_of(ancestor: Ancestor) -> dict[Path, list[Use]]:
    """The corpora that a model or an ancestor was trained on, and by which stages. A corpus that only a tokenizer
    was trained on does not count."""
    from tutelage.pretraining.trace import Use

    if ancestor.stage == "corpus" and ancestor.artifact:
        return {ancestor.artifact.path: [Use()]}
    found: dict[Path, list[Use]] = {}
    config = ancestor.artifact.manifest["config"] if ancestor.artifact else {}
    pretrain = config.get("pretrain") or {}
    mix = pretrain.get("mix") or {}
    weights = mix.get("weights") or {}
    use = Use(mix.get("by", "label"), frozenset(name for name, weight in weights.items() if not weight))
    for one in ancestor.inputs:
        if one.stage == "corpus":
            if one.artifact and ancestor.stage != "tokenizer":
                found.setdefault(one.artifact.path, []).append(use)
            continue
        for path, uses in corpora_of(one).items():
            found.setdefault(path, []).extend(uses)
    for other in pretrain.get("mixture") or ():
        found.setdefault(Path(other["corpus"]).expanduser().resolve(), []).append(Use())
    return found


def written(place: Path, prompt: str, max_tokens: int, temperature: float, seed: int) -> str:
    """The model's continuation of the prompt, without the prompt."""
    from tutelage.inference.language_model import load
    from tutelage.inference.sampling import Sampling

    return load(place).generate([prompt], Sampling(max_tokens=max_tokens, temperature=temperature, seed=seed))[0].text


def show(console: Console, text: str, spans: list[Span], share: float, least: int) -> None:
    """The text with the spans in colour, then each span with its documents."""
    from rich.text import Text

    drawn = Text(text)
    for number, span in enumerate(spans):
        drawn.stylize(COLOURS[number % len(COLOURS)], span.begin, span.end)
    console.print(drawn)
    console.print()
    for number, span in enumerate(spans):
        times = "once" if span.count == 1 else f"{span.count} times"
        head = Text.assemble(
            (f" {number + 1} ", COLOURS[number % len(COLOURS)]), f" {span.words} words, {times}: {span.text}"
        )
        console.print(head, soft_wrap=True)
        for one in span.documents:
            around = f"…{one.before}[{span.text}]{one.after}…" if one.before or one.after else "the whole document"
            where = " ".join(filter(None, (one.source, one.name)))
            console.print(Text.assemble(f"    {where}: ", (" ".join(around.split()), "dim")), soft_wrap=True)
    said = f"No span of {least} words or more occurs in the corpus."
    if spans:
        longest = max(span.words for span in spans)
        said = f"{share:.0%} of the text occurs in the corpus, in spans of at least {least} words (longest: {longest})."
    console.print(said, style="bold", highlight=False)
