"""The tokenizer verbs: train, compare, show, undertrained."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tutelage.cli.life import run_stage
from tutelage.cli.options import RUNS, Json, Out, OwnText, RecipeFile, Sets, Source, find_model, notes, print_json
from tutelage.store.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from tutelage.ablation.bench import Question
    from tutelage.tokenizer.tokenizer import Tokenizer

tokenizer = typer.Typer(name="tokenizer")


def register(app: typer.Typer) -> None:
    tokenizer.callback(invoke_without_command=True)(train)
    for verb in (compare, show, undertrained):
        tokenizer.command()(verb)
    app.add_typer(tokenizer)


def train(
    context: typer.Context,
    recipe: RecipeFile = None,
    sets: Sets = None,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """Train a tokenizer on the corpus and measure it; or `compare`, `show` or look for `undertrained` tokens.

    Example: `tutelage tokenizer --set tokenizer.method=unigram --set tokenizer.vocab_size=8192`
    """
    if context.invoked_subcommand is None:
        run_stage("tokenizer", recipe, sets, out, as_json)


def compare(
    tokenizers: Annotated[
        list[str],
        typer.Argument(
            metavar="TOKENIZER...",
            help="Two or more: METHOD:SIZE or METHOD:SIZE:SPLIT to train one (`bpe:2048`, `unigram:4096:cl100k`), or a "
            "vocabulary: a folder, tokenizer.json, SentencePiece .model or .tiktoken file.",
        ),
    ],
    source: OwnText = None,
    recipe: RecipeFile = None,
    sets: Sets = None,
    seeds: Annotated[int, typer.Option(min=1, max=64, help="Training seeds for each tokenizer, at most.")] = 3,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """Compare tokenizers: their measures, and the bits per byte of a small model trained with each at equal compute.

    Only the latter ranks them. The others are compared with the first; intervals, verdicts and exit codes are those
    of `tutelage ablate`.

    Example: `tutelage tokenizer compare bpe:1024 bpe:4096 unigram:4096 --source my_texts/`
    """
    from rich.console import Console

    from tutelage.ablation.tokenizers import tokenizer_question
    from tutelage.cli.findings import run_question
    from tutelage.recipe.config import setting

    given = [] if source is None else [setting("corpus.source", source)]
    question = tokenizer_question(tokenizers, recipe, given + (sets or []), seeds)
    console = Console(stderr=as_json)
    measures = _measures(question, out)
    if not as_json:
        _measured(console, measures)
    run_question(question, out, as_json, {"measures": measures})


def show(
    text: Annotated[str, typer.Argument(help="A text, or the name of a text file.")],
    tokenizers: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TOKENIZER]...", help="Runs, model or tokenizer folders; default: the last run's."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with the coloured text, e.g. `--html tokens.html`.")
    ] = None,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """Show a text coloured by its tokens, for one tokenizer or several.

    Example: `tutelage tokenizer show "How much is 1,234.5?" runs/quickstart my-model/ --html tokens.html`
    """
    from rich.console import Console

    from tutelage.store.files import write_atomic
    from tutelage.store.text import read_bytes, read_text
    from tutelage.tokenizer.view import page, views

    content = text
    if len(text) < 250 and Path(text).is_file():
        try:
            content = read_bytes(Path(text)).decode("utf-8")
        except UnicodeDecodeError:
            read = read_text(Path(text))
            content = read.text
            notes().note(f"{text} is read as {read.encoding}; bytes replaced by U+FFFD: {read.replaced}")
    shown = views(_opened(tokenizers or [], out), content)
    if html is not None:
        write_atomic(html, page(shown, content))
    if as_json:
        print_json([{"tokenizer": one.name, "tokens": one.pieces, "ids": one.ids} for one in shown])
        return
    _coloured(Console(), [(one.name, one.coloured) for one in shown], len(content.encode("utf-8")))


def undertrained(
    model: Source = None,
    corpus: Annotated[
        Path | None,
        typer.Option(
            help="The corpus that it was trained on (the artifact's folder), in which tokens are counted; default: "
            "that of the run."
        ),
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="Tokens to print.")] = 30,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """Undertrained tokens: rare in the text, or with embeddings like those of unseen tokens.

    Such a token in a prompt makes a model behave erratically. A smaller vocabulary or more text helps.

    Example: `tutelage tokenizer undertrained -m runs/quickstart`
    """
    from rich.console import Console

    from tutelage.evaluation.undertrained import times_seen
    from tutelage.evaluation.undertrained import undertrained as look
    from tutelage.model.io import load_model
    from tutelage.pretraining.stage import read_texts
    from tutelage.tokenizer.tokenizer import Tokenizer

    place = find_model(model, out)
    tok, decoder = Tokenizer.load(place), load_model(place)
    text = corpus or _corpus_of(model, out)
    seen = times_seen(tok, read_texts(text / "train.parquet")) if text else None
    if seen is None:
        notes().note("without the corpus (--corpus) tokens are judged by their embeddings alone")
    found = look(decoder.embed_tokens.weight, decoder.head_weight, tok, seen)
    print_json(found.plain()) if as_json else _suspects(Console(), found.plain(), most)


def _measures(question: Question, out: Path) -> dict[str, Any]:
    """Measures of every arm's tokenizer on the held-out text of the first arm's corpus, and how many parameters of the
    model its vocabulary takes."""
    from tutelage.ablation.bench import FOLDER
    from tutelage.ablation.runs import Runner
    from tutelage.corpus.document import read_documents
    from tutelage.guidance.costs import with_vocabulary
    from tutelage.model.describe import parameters
    from tutelage.tokenizer.compare import Sample
    from tutelage.tokenizer.compare import compare as measured
    from tutelage.tokenizer.tokenizer import Tokenizer

    runner = Runner(out, out / FOLDER / question.name, question.target)
    trained = {arm.name: Tokenizer.load(runner.tokenizer(arm).path) for arm in question.arms}
    documents = read_documents(runner.corpus(question.arms[0]) / "heldout.parquet")
    found = measured(trained, [Sample(one.text, one.label or one.source) for one in documents])
    for arm in question.arms:
        if arm.recipe.base is None:  # else the model has a vocabulary of its own
            model = with_vocabulary(arm.recipe.model, found[arm.name]["vocab_size"])
            sizes = parameters(model)
            found[arm.name]["vocabulary_parameters"] = sizes["embedding"] + sizes["output_head"]
            found[arm.name]["other_parameters"] = sum(sizes.values()) - found[arm.name]["vocabulary_parameters"]
    return found


def _opened(sources: list[str], out: Path) -> dict[str, Tokenizer]:
    from tutelage.tokenizer.config import TokenizerConfig
    from tutelage.tokenizer.imported import import_vocabulary
    from tutelage.tokenizer.tokenizer import Tokenizer

    found: dict[str, Tokenizer] = {}
    for source in sources or [""]:
        path = Path(source).expanduser()
        if source and path.is_file():
            found[source] = import_vocabulary(TokenizerConfig(source=source))
        else:
            found[source or "the last run's"] = Tokenizer.load(find_model(source or None, out))
    return found


def _corpus_of(model: str | None, out: Path) -> Path | None:
    """The corpus artifact of a run; None where the model is of no run."""
    try:
        return find_model(model, out, "corpus")
    except ConfigError:
        return None


def _measured(console: Console, measures: dict[str, Any]) -> None:
    from rich.table import Table

    from tutelage.tokenizer.compare import rows

    shown = rows(measures)
    label = max(len(measure) for measure, _ in shown)
    names = list(measures)
    while names:  # as many tokenizers side by side as the terminal is wide
        widths = list(accumulate((2 + max(len(name), 8) for name in names), initial=label))
        count = max(1, sum(width <= console.width for width in widths[1:]))
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("", min_width=label)
        for name in names[:count]:
            table.add_column(name, justify="right", min_width=8, overflow="fold")
        first = len(measures) - len(names)
        for measure, values in shown:
            table.add_row(measure, *values[first : first + count])
        console.print(table, highlight=False, markup=False)
        names = names[count:]
    console.print("None of these ranks tokenizers; the bits per byte below do.", style="dim")


def _coloured(console: Console, shown: list[tuple[str, list[tuple[str, str]]]], size: int) -> None:
    from rich.text import Text

    for name, tokens in shown:
        per = size / max(1, len(tokens))
        console.print(
            f"{name}: {len(tokens):,} tokens, {per:.2f} bytes for each", style="bold", highlight=False, soft_wrap=True
        )
        if console.is_terminal and not console.no_color:
            console.print(Text.assemble(*((piece, f"black on {colour}") for piece, colour in tokens)))
        else:
            console.print("|".join(piece for piece, _ in tokens), highlight=False, soft_wrap=True, markup=False)


def _suspects(console: Console, found: dict[str, Any], most: int) -> None:
    from rich.table import Table

    known = "" if found["unseen"] is None else f", {found['unseen']:,} of them in the text less than three times"
    console.print(f"{found['vocabulary']:,} tokens{known}; {len(found['suspects']):,} suspected", highlight=False)
    if found["agreement"] is not None:
        console.print(
            f"rows tell tokens that were seen once or twice from others with an AUC of {found['agreement']:g}"
        )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("id", "token", "seen", "closeness", "norm"):
        table.add_column(name, justify="left" if name == "token" else "right")
    for one in found["suspects"][:most]:
        seen = "" if one["seen"] is None else f"{one['seen']:,}"
        table.add_row(str(one["id"]), repr(one["token"]), seen, f"{one['closeness']:.3f}", f"{one['norm']:.3f}")
    console.print(table, highlight=False, markup=False)
