"""`tutelage plan --hours --corpus --goal`: a recipe proposed for a goal, with its reasons and its forecast."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.cli.ahead import look_ahead, this_machine
from tutelage.cli.options import print_json
from tutelage.store.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from tutelage.cli.ahead import Ahead
    from tutelage.guidance.planner import Plan


def propose(
    goal: str,
    hours: float,
    corpus: str,
    rows: Path | None,
    sets: list[str],
    write: Path | None,
    out: Path,
    as_json: bool,
) -> None:
    """Plan, print, and write the recipe where a file is named. Raises ConfigError if the file exists."""
    from rich.console import Console

    from tutelage.guidance.forecast import Outlook
    from tutelage.guidance.planner import plan_for
    from tutelage.recipe.commented import commented
    from tutelage.recipe.config import Recipe, override

    if write is not None and write.exists():
        raise ConfigError(f"{write} already exists", hint="name a new file")

    def given(data: dict[str, Any]) -> dict[str, Any]:
        """The data with the overrides of `--set`."""
        data = copy.deepcopy(data)
        for item in sets:
            override(data, item)
        return data

    def outlook_of(data: dict[str, Any]) -> Outlook:
        return look_ahead(Recipe.parse(given(data)), out).outlook

    made = plan_for(goal, hours, corpus, str(rows) if rows else None, this_machine(out), outlook_of)
    recipe = given(made.data)
    ahead = look_ahead(Recipe.parse(recipe), out)
    own = {item.partition("=")[0] for item in sets}
    text = commented(recipe, {one.key: one.reason for one in made.choices if one.key not in own})
    if write is not None:
        write.write_text(text, encoding="utf-8")
    if as_json:
        print_json({**plain(made), "recipe": recipe, "plan": ahead.plain(), "written": str(write) if write else None})
        return
    show(Console(), made, ahead, text, write)


def plain(made: Plan) -> dict[str, Any]:
    taken = made.proposal.taken
    return {
        "choices": [{"key": one.key, "value": one.value, "reason": one.reason} for one in made.choices],
        "remarks": list(made.remarks),
        "looked_at": [
            {"width": one.width, "parameters": round(one.parameters), "vocab_size": one.vocab_size,
             "tokens": round(one.tokens), "passes": round(one.passes, 2),
             "tokens_per_second": round(1 / one.seconds_per_token) if one.seconds_per_token else None,
             "bits_per_byte": [round(value, 3) for value in (one.bits.low, one.bits.middle, one.bits.high)],
             "taken": one is taken}
            for one in made.proposal.looked_at
        ],
        "budgets": made.budgets,
    }  # fmt: skip


def show(console: Console, made: Plan, ahead: Ahead, text: str, write: Path | None) -> None:
    """The candidates, the recipe, its cost by stage, and remarks."""
    from rich.table import Table

    from tutelage.cli import show as shown

    table = Table(title="Models looked at", title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("width", "parameters", "tokens/s", "tokens", "passes", "bits/byte expected", ""):
        table.add_column(column, justify="left" if not column else "right")
    for one in made.proposal.looked_at:
        bits = f"{one.bits.middle:.2f} ({one.bits.low:.2f} to {one.bits.high:.2f})"
        pace = f"{1 / one.seconds_per_token:,.0f}" if one.seconds_per_token else ""
        mark = "taken" if one is made.proposal.taken else ""
        table.add_row(str(one.width), f"{one.parameters / 1e6:.2f}M", pace, f"{one.tokens / 1e6:.2f}M",
                      f"{one.passes:.1f}", bits, mark)  # fmt: skip
    console.print(table)
    console.print()
    if write is None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)
    shown.plan(
        console, made.data["name"], ahead.planned, ahead.outlook, [one for one in ahead.advice if one.level != "note"]
    )
    for remark in made.remarks:
        console.print(f"[yellow]note[/] {remark}", highlight=False, soft_wrap=True)
    if write is not None:
        console.print(f"Written: {write}. Run it: tutelage run {write}", highlight=False, soft_wrap=True)
    else:
        console.print("Nothing is written: --write FILE keeps the recipe.", style="dim", highlight=False)
