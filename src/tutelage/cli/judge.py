"""`tutelage judge`: whose answers are better, by a model, a rule or people, with the judge's own biases measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tutelage.cli.options import Json, notes, open_model, print_json
from tutelage.store.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console


def register(app: typer.Typer) -> None:
    app.command()(judge)


def judge(
    answers: Annotated[
        list[Path],
        typer.Argument(
            help="Files of answers, one JSON line per prompt: `prompt`, `answer` and, if there is one, "
            "`reference`. Matched by prompt. E.g. `before.jsonl after.jsonl`"
        ),
    ],
    by: Annotated[
        str | None,
        typer.Option(
            "--judge",
            help="A model as for --model of other verbs, the URL of an OpenAI-style endpoint "
            "(`http://host:8000/v1`; a key goes in TUTELAGE_JUDGE_KEY), or a rule: `rule:chrf`, `rule:longer`, "
            "`rule:first`.",
        ),
    ] = None,
    judge_model: Annotated[
        str | None, typer.Option("--judge-model", help="Name of the model behind the endpoint.")
    ] = None,
    out: Annotated[
        Path,
        typer.Option("--out", help="Folder for judgements.jsonl (an interrupted run resumes from it) and judged.json."),
    ] = Path("judged"),
    rate: Annotated[
        bool,
        typer.Option("--rate", help="Rate every answer on its own, 1 to 10, instead of in pairs; one file is enough."),
    ] = False,
    annotate: Annotated[
        Path | None,
        typer.Option("--annotate", help="Write a page for blind votes by people here, e.g. `--annotate vote.html`."),
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Pairs on that page, drawn at random.")] = 50,
    votes: Annotated[
        Path | None,
        typer.Option("--votes", help="Votes saved by that page: alone, or with --judge to check the judge."),
    ] = None,
    parallel: Annotated[int, typer.Option(min=1, help="Requests to an endpoint at once.")] = 4,
    as_json: Json = False,
) -> None:
    """Judge answers in pairs, in both orders, and measure the judge itself: its position and length bias, whether
    it favours its own family, how well it agrees with people.

    Example: `tutelage judge a.jsonl b.jsonl --judge smollm2`; to have people vote first
    `tutelage judge a.jsonl b.jsonl --annotate vote.html`
    """
    from tutelage.evaluation.judging.annotate import annotation_page, read_votes
    from tutelage.evaluation.judging.answers import read_answers
    from tutelage.evaluation.judging.judges import find_judge
    from tutelage.evaluation.judging.report import judge_all, people_all, rate_all
    from tutelage.store.files import write_atomic, write_json

    if by is None and annotate is None and votes is None:
        raise ConfigError(
            "no judge is given", hint="--judge MODEL, or --annotate PAGE.html and then --votes for people"
        )
    if len(answers) < 2 and not rate:
        raise ConfigError("two or more files of answers are compared", hint="--rate rates the answers of one file")
    matched = read_answers(answers)
    if annotate is not None:
        write_atomic(annotate, annotation_page(matched, sample))
        if by is None and votes is None:
            print_json({"page": str(annotate)}) if as_json else print(
                f"{annotate}: open it in a browser, vote, save; then --votes votes.json beside --judge"
            )
            return
    given = read_votes(votes, matched) if votes is not None else None
    if by is None:
        assert given is not None
        found = people_all(matched, given)
    else:
        log, who = notes(), find_judge(by, judge_model, open_model, parallel)
        found = rate_all(who, matched, out, log) if rate else judge_all(who, matched, out, log, given)
    write_json(out / "judged.json", found)
    if as_json:
        print_json(found)
        return
    from rich.console import Console

    _show(Console(), found)
    print(f"All of it: {out / 'judged.json'}")


def _show(console: Console, found: dict[str, Any]) -> None:
    def say(text: str, style: str = "") -> None:
        console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)

    say(f"Judge: {found['judge']}; {found['items']} prompts that all have answered"
        + "".join(f"; {count} more of {name} are left out" for name, count in found["left_out"].items()))  # fmt: skip
    for pair in found.get("pairs", ()):
        say(f"\n{pair['a']} against {pair['b']}", "bold")
        _lines(say, pair)
    for one in found.get("ratings", ()):
        say(f"{one['who']}: {_range(one, '{:.2f}')} of 10, n = {one['n']}"
            + (f", {one['unreadable']} unreadable" if one["unreadable"] else ""))  # fmt: skip
    for one in found.get("comparisons", ()):
        say(one["verdict"] + ".")
    if found.get("standings"):
        _ranking(console, found["standings"])
    for text in found["warnings"]:
        console.print("[yellow]![/]", end=" ")
        say(text)
    for text in found["cautions"]:
        say(f"- {text}", "dim")


def _lines(say: Any, pair: dict[str, Any]) -> None:
    orders = ", both orders" if "position" in pair else ""
    say(f"  wins             {_range(pair['win_rate'])}, n = {pair['n']}{orders}, a tie is half a win")
    if "position" not in pair:
        say(f"  {pair['verdict']}.")
        return
    controlled, first = pair["length_controlled"], pair["position"]
    if controlled:
        say(f"  at equal length  {_range(controlled['win_rate'])} (check on these lengths: planted "
            f"{100 * controlled['planted']:.1f} %, recovered {100 * controlled['recovered']:.1f} %)")  # fmt: skip
    else:
        say("  at equal length  unknown: fewer than 20 verdicts, all verdicts the same, or no difference in length")
    flips = f", {_range(first['flips'])} of verdicts flip" if first["flips"] else ""
    say(f"  shown first      wins {_range(first['first'])}{flips}")
    if pair["longer_wins"]:
        mine, theirs = pair["lengths"]
        say(f"  longer answer    wins {_range(pair['longer_wins'])}; {mine:.0f} and {theirs:.0f} characters on average")
    if agreed := pair.get("agreement"):
        few = "; few: 50 or more are needed" if agreed["few"] else ""
        share, count, beyond = _range(agreed["share"]), agreed["n"], agreed["kappa"]
        say(f"  people           agree in {share} of {count} votes (kappa {beyond:.2f}){few}")
        say(f"  corrected by them   {pair['a']} wins {_range(agreed['corrected_win_rate'])}")
    say(f"  {pair['verdict']}.")


def _ranking(console: Console, standings: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("rank", "who", "rating", "wins against the others", "verdicts"):
        table.add_column(name, justify="left" if name == "who" else "right")
    for one in standings:
        low, high = one["rank_low"], one["rank_high"]
        table.add_row(f"{low}" if low == high else f"{low} to {high}", one["who"], _range(one["rating"], "{:.0f}"),
                      f"{100 * one['win_rate']:.1f} %", str(one["games"]))  # fmt: skip
    console.print()
    console.print(table, highlight=False)


def _range(one: dict[str, Any], form: str = "") -> str:
    def shown(value: float) -> str:
        return form.format(value) if form else f"{100 * value:.1f}"

    bounds = "" if one["low"] is None else f" ({shown(one['low'])} to {shown(one['high'])})"
    return f"{shown(one['value'])}{'' if form else ' %'}{bounds}"
