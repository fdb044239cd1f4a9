"""`tutelage translate`: texts, or a document sentence by sentence."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tutelage.cli.options import RUNS, Json, Out, Source, WeightsOption, open_model, print_json
from tutelage.store.errors import ConfigError, InputError

if TYPE_CHECKING:
    from tutelage.inference.results import Generation


def register(app: typer.Typer) -> None:
    app.command()(translate)


def translate(
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT]...", help="Texts; '-' reads one per line from standard input.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            help="A document: its lines are translated sentence by sentence and joined again, e.g. "
            "`--file letter.txt > letter.fr.txt`."
        ),
    ] = None,
    model: Source = None,
    to: Annotated[
        str | None, typer.Option(help="Target language, for a model that learned both directions, e.g. `--to German`.")
    ] = None,
    beams: Annotated[int, typer.Option(min=1, help="Number of beams, e.g. `--beams 4`; 1 is greedy.")] = 1,
    length_penalty: Annotated[
        float | None, typer.Option(help="With beams: above 1 favours longer translations, e.g. `--length-penalty 1.2`.")
    ] = None,
    max_tokens: Annotated[
        int, typer.Option(min=1, help="Longest translation of a text or sentence in tokens, e.g. `--max-tokens 40`.")
    ] = 128,
    weights: WeightsOption = "auto",
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """Translate texts with a model from `tutelage finetune translate`, prompted as it was trained.

    Example: `tutelage translate "A dog runs over the grass." -m runs/pairs-translate`
    """
    from tutelage.inference.sampling import Sampling
    from tutelage.inference.search import Beam

    if (file is None) == (not texts):
        raise ConfigError("give either texts or --file", hint='e.g. tutelage translate "A dog runs."')
    if length_penalty is not None and beams == 1:
        raise ConfigError("--length-penalty goes with --beams")
    penalty = 1.0 if length_penalty is None else length_penalty
    how = Sampling(max_tokens=max_tokens) if beams == 1 else Beam(beams, max_tokens, penalty)
    lines = _lines(texts or [], file)
    pieces = [_sentences(line) if file else [line] for line in lines]
    asked = [piece for line in pieces for piece in line]
    answers = iter(open_model(model, out, weights=weights).translate(asked, to, how) if asked else [])
    for line, parts in zip(lines, pieces, strict=True):
        made = [next(answers) for _ in parts]
        _told(parts, made, max_tokens)
        text = " ".join(answer.text.strip() for answer in made) if file else "".join(answer.text for answer in made)
        if as_json:
            cut = any(answer.stop_reason != "stop" for answer in made)
            print_json({"text": line, "translation": text, "stop_reason": "length" if cut else "stop"})
        else:
            print(text)


def _lines(texts: list[str], file: Path | None) -> list[str]:
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{file} cannot be read: {error}", hint="expected a text file in UTF-8") from None
    lines = [line.rstrip("\n") for line in sys.stdin if line.strip()] if texts == ["-"] else texts
    if not lines:
        raise InputError("nothing to translate: standard input is empty")
    return lines


def _sentences(line: str) -> list[str]:
    from tutelage.corpus.sentences import split_sentences

    return split_sentences(line.strip())


def _told(parts: list[str], made: list[Generation], max_tokens: int) -> None:
    for part, answer in zip(parts, made, strict=True):
        if answer.stop_reason != "stop":
            print(f"the translation was cut off at {max_tokens} tokens: {part[:60]!r}", file=sys.stderr)
