"""`tutelage ablate`: change one thing, and know whether it helped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tutelage.cli.findings import run_question, voices
from tutelage.cli.options import RUNS, Json, Out, Sets, notes, print_json
from tutelage.store.errors import ConfigError, nearest

if TYPE_CHECKING:
    from tutelage.ablation.arms import Arm
    from tutelage.ablation.selftest import Known


def register(app: typer.Typer) -> None:
    app.command()(ablate)


def ablate(
    what: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[data] [RECIPE]",
            help="Recipe file (YAML), e.g. recipes/miniature.yaml; default: the quickstart's. `ablate data RECIPE`: "
            "instead of --vary, each filter and source of its corpus is left out in turn.",
        ),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            "--vary",
            metavar="KEY=A,B,C",
            help="A recipe key and its values; the first is the baseline. One value is "
            "compared with the recipe as it is; several `--vary` make a grid; a value in "
            "braces changes several keys. "
            "E.g. `--vary pretrain.training.optimizer=adamw,muon`",
        ),
    ] = None,
    ask: Annotated[
        str | None,
        typer.Option(
            "--ask",
            metavar="NAMES",
            help="Instead of --vary, ready-made questions: `--ask optimizer,norm`, or `all` for a night; `--ask "
            "list` lists them.",
        ),
    ] = None,
    sets: Sets = None,
    seeds: Annotated[int, typer.Option(min=1, max=64, help="Training seeds for each arm, at most.")] = 3,
    match: Annotated[
        str,
        typer.Option(help="What is equal for all arms: `steps`, `tokens`, `seconds` or `compute` (FLOPs) of training."),
    ] = "steps",
    of: Annotated[
        str | None,
        typer.Option(
            "--of",
            help="Which model is measured: `base`, or a finetuning step; default: the one that the varied keys "
            "belong to.",
        ),
    ] = None,
    effect: Annotated[
        float,
        typer.Option(min=0.01, max=50, help="The smallest difference that matters, in percent of the measure."),
    ] = 1.0,
    question: Annotated[
        str | None,
        typer.Option(
            "--question",
            help="Name of the question; its ledger counts every try. Default: the recipe's name. "
            "E.g. `--question data`",
        ),
    ] = None,
    ladder: Annotated[
        str | None,
        typer.Option(
            "--ladder",
            metavar="WIDTHS",
            help="Instead train fresh models of these widths, each for several lengths, and fit how loss falls with "
            "parameters, tokens and compute; e.g. `--ladder 48,64,96,128`.",
        ),
    ] = None,
    lengths: Annotated[
        str, typer.Option(help="With --ladder: the lengths, as shares of the recipe's steps.")
    ] = "0.25,0.5,1",
    self_test: Annotated[
        bool,
        typer.Option(
            "--self-test",
            help="Run nothing: simulate equal arms and planted effects with the noise measured for this question, or "
            "with that of the documentation.",
        ),
    ] = False,
    by: Annotated[
        str,
        typer.Option(
            help="With `data`: what counts as a source, the `label` of documents (their folder) or their `source`."
        ),
    ] = "label",
    search: Annotated[
        int | None,
        typer.Option(
            "--search",
            metavar="RUNS",
            min=12,
            help="With `data`: instead search for the best mixture of the sources, by this many small runs (32 is "
            "usual) and a regression that must predict runs it has not seen.",
        ),
    ] = None,
    out: Out = RUNS,
    as_json: Json = False,
) -> None:
    """Run the recipe with one thing changed, under several seeds, and say whether it is better or only noise.

    Arms share documents, split and order of the data; only the training seed differs. The noise floor comes first. Runs
    stop early once the question is settled (the error rate allows for that), and every try on a question is counted.
    After an interruption, finished runs are not repeated.

    Exit codes: 0 an arm is better than the first, 3 none is (not distinguishable, or worse), 4 none is, and for some
    there are too few seeds or documents to tell, 1 failed, 2 wrong use. With --ask and several questions: 0 when
    all were run, whatever was found.

    Example: `tutelage ablate recipes/miniature.yaml --vary pretrain.training.optimizer=adamw,muon --seeds 3`, or of
    its data `tutelage ablate data recipes/miniature.yaml`
    """
    from tutelage.ablation.arms import MATCHES, arms_of, refuse_varied_length, target_of, varied_keys
    from tutelage.ablation.bench import Question
    from tutelage.recipe.config import BASE, load_recipe

    if match not in MATCHES:
        raise ConfigError(f"--match {match} is unknown", hint=nearest(match, MATCHES))
    recipe, of_data = _what(what or [])
    whole = load_recipe(recipe, sets or [])
    name = question or (f"{whole.name}-data" if of_data else whole.name)
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name.startswith("."):
        raise ConfigError(f"--question {name!r} is not a valid folder name", hint="letters, digits, -, _ and .")
    if self_test:
        _self_test(out, name, effect / 100, seeds, as_json)
        return
    if ask is not None:
        from tutelage.cli.ask import ask_ready

        if vary or of or ladder is not None or of_data:
            raise ConfigError("--ask brings its own arms", hint="leave out --vary, --of, --ladder and `data`")
        ask_ready(ask, recipe, sets or [], name, seeds, effect / 100, out, as_json)
        return
    if of_data and ladder is not None:
        raise ConfigError("--ladder varies the model size only", hint="leave out `data`")
    if ladder is not None:
        from tutelage.cli.ladder import ladder as fit_ladder

        if vary or of:
            raise ConfigError("--ladder varies the model size only", hint="leave out --vary and --of")
        console, say, listen = voices(as_json)
        fit_ladder(whole, name, ladder, lengths, out, as_json, console, say, listen)
        return
    if of_data:
        if vary or of:
            raise ConfigError("`ablate data` varies the training data of the base", hint="leave out --vary and --of")
        if search is not None:
            from tutelage.cli.mixture import search_mixture

            _, say, listen = voices(as_json)
            arms, found = search_mixture(recipe, sets or [], by, f"{name}-mixture", search, out, as_json, say, listen)
            asked = Question(f"{name}-mixture", tuple(arms), BASE, seeds, match, effect / 100)  # type: ignore[arg-type]
            run_question(asked, out, as_json, {"mixture": found})
            return
        arms = _data_arms(recipe, sets or [], by, name, out)
        run_question(Question(name, tuple(arms), BASE, seeds, match, effect / 100), out, as_json)  # type: ignore[arg-type]
        return
    if search is not None:
        raise ConfigError("--search belongs to `ablate data`", hint="tutelage ablate data RECIPE --search 32")
    arms = arms_of(recipe, sets or [], vary or [])
    keys = varied_keys(arms)
    target = target_of(keys, arms[0].recipe, of)
    refuse_varied_length(target, keys, match)  # type: ignore[arg-type]
    run_question(Question(name, tuple(arms), target, seeds, match, effect / 100), out, as_json)  # type: ignore[arg-type]


def _what(words: list[Path]) -> tuple[Path | None, bool]:
    """(recipe file, whether to ablate its data)."""
    of_data = bool(words) and words[0] == Path("data") and not words[0].is_file()
    files = words[1:] if of_data else words
    if len(files) > 1:
        raise ConfigError(f"expected one recipe, got {len(files)}", hint="tutelage ablate [data] RECIPE")
    return (files[0] if files else None), of_data


def _data_arms(recipe: Path | None, sets: list[str], by: str, name: str, out: Path) -> list[Arm]:
    """The recipe, and the recipe without each filter and each source; this needs its corpus, which is made first."""
    from tutelage.ablation.bench import FOLDER
    from tutelage.ablation.data import filter_arms, source_arms
    from tutelage.ablation.runs import Runner
    from tutelage.recipe.config import BASE
    from tutelage.store.errors import InputError

    if by not in ("label", "source"):
        raise ConfigError(f"--by {by} is unknown", hint=nearest(by, ("label", "source")))
    arms = filter_arms(recipe, sets)
    try:
        corpus = Runner(out, out / FOLDER / name, BASE).corpus(arms[0])
        return [*arms, *source_arms(arms[0], corpus, by)]
    except InputError as error:
        if len(arms) < 2:
            raise
        notes().note(f"only filters are ablated: {error.message}")
        return arms


def _self_test(out: Path, name: str, effect: float, seeds: int, as_json: bool) -> None:
    from tutelage.ablation.selftest import self_test
    from tutelage.ablation.write import known_noise

    known: Known | None = known_noise(out, name)
    if not as_json:
        where = f"the noise measured for {name}" if known else "the noise of the documentation's example"
        print(f"Simulated runs with known effects and {where}, judged by the functions that judge real ones.")
    checks = []
    for check in self_test(known, effect, max(2, seeds)):
        checks.append(check)
        if not as_json:
            print(f"{'ok  ' if check.passed else 'FAIL'} {check.text}", flush=True)
    passed = all(check.passed for check in checks)
    if as_json:
        print_json({"passed": passed, "measured_noise": known is not None, "checks": [one.plain() for one in checks]})
    if not passed:
        raise typer.Exit(1)
