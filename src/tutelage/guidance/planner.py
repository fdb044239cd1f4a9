"""Plan a recipe for a goal: what can be trained on a text on this machine in a given time, with reasons."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tutelage.finetuning import method_names
from tutelage.guidance.forecast import Outlook
from tutelage.pretraining.proposal import Proposal
from tutelage.pretraining.proposal import propose as propose_pretraining
from tutelage.pretraining.reasons import Choice, text_ends
from tutelage.pretraining.reasons import choices as choices_of
from tutelage.pretraining.reasons import remarks as remarks_on
from tutelage.store.errors import ConfigError, nearest
from tutelage.store.stage import Machine

BASE = "base"  # the pretraining stage, and the goal without finetuning
OTHER_NAMES = {"chat": "instruct"}  # of goals
TASKS = {"instruct": "docstrings", "prefer": "docstrings", "classify": "labels"}  # rows from the corpus itself
HOLDS = {"docstrings": "described", "labels": "labels"}  # the fact of a corpus that counts these rows
AIM = 0.85  # share of the hours for the middle of the forecast, with a margin for a slower machine
LEAST_SHARE = 0.3  # minimum share of the hours for pretraining
HELD_OUT, MOST_HELD_OUT = 300, 0.2  # held-out documents needed, and their largest share
ROUNDS, CLOSE = 4, 0.03  # maximum number of corrections of the length, and tolerance


@dataclass(frozen=True)
class Plan:
    """The recipe as plain data, the reason for each value, and the expected cost and result.

    budgets: seconds by stage.
    """

    data: dict[str, Any]
    choices: tuple[Choice, ...]
    remarks: tuple[str, ...]
    proposal: Proposal
    outlook: Outlook

    @property
    def budgets(self) -> dict[str, float]:
        return self.outlook.seconds


def goals() -> list[str]:
    """`base`, `chat`, and every finetuning method by its name."""
    return ["base", *OTHER_NAMES, *(name for name in method_names() if name not in OTHER_NAMES.values())]


def plan_for(
    goal: str,
    hours: float,
    source: str,
    rows: str | None,
    machine: Machine,
    outlook_of: Callable[[dict[str, Any]], Outlook],
) -> Plan:
    """The recipe that trains a model on `source` for `goal` in `hours`.

    rows: the user's own file for the goal's method. outlook_of: forecasts of recipe data. Raises
    ConfigError for a goal that is unknown or lacks rows, a source of unknown size, and too little time.
    """
    begun = skeleton(goal, source, rows)
    first = outlook_of(begun)
    fixed = (*_about_steps(begun), *_held_out(first.facts.get("corpus", {})))
    begun = with_choices(begun, fixed)
    outlook = outlook_of(begun)
    corpus = outlook.facts.get("corpus", {})
    if not corpus.get("train_bytes"):
        raise ConfigError(f"the size of {source} is unknown before it is read", hint="give a file or a folder")
    _check_rows(goal, rows, corpus, source)
    proposal, outlook = _filling(AIM * hours * 3600, begun, outlook, corpus, machine, outlook_of)
    chosen = choices_of(proposal, corpus)
    remarks = (*remarks_on(proposal, corpus), *_about_time(outlook, hours))
    return Plan(with_choices(begun, chosen), (*fixed, *chosen), remarks, proposal, outlook)


def _filling(
    fills: float,
    begun: dict[str, Any],
    outlook: Outlook,
    corpus: Mapping[str, Any],
    machine: Machine,
    outlook_of: Callable[[dict[str, Any]], Outlook],
) -> tuple[Proposal, Outlook]:
    """The pretraining with which the whole recipe takes `fills` seconds, and its forecast.

    The cost of the other stages depends on the model, so the length is corrected until it fits, or until the text is
    the limit.
    """
    beside = sum(seconds for name, seconds in outlook.seconds.items() if name != BASE)
    wanted = max(fills - beside, LEAST_SHARE * fills)
    for _ in range(ROUNDS):
        proposal = propose_pretraining(corpus, wanted, machine)  # every rate is measured once
        outlook = outlook_of(with_choices(begun, choices_of(proposal, corpus)))
        whole = sum(outlook.seconds.values())
        if abs(whole / fills - 1) <= CLOSE or (text_ends(proposal.taken) and whole < fills):
            break
        wanted = max(wanted / 4, wanted + fills - whole)
    return proposal, outlook


def skeleton(goal: str, source: str, rows: str | None) -> dict[str, Any]:
    """The recipe without pretraining. Raises ConfigError naming the nearest match for an unknown goal."""
    if goal not in goals() and goal not in method_names():
        raise ConfigError(f"--goal {goal} is unknown", hint=nearest(goal, goals()))
    name = f"{goal}-plan"
    data: dict[str, Any] = {"name": name, "seed": 1, "corpus": {"source": source}}
    if goal != BASE:
        kind = OTHER_NAMES.get(goal, goal)
        data["finetune"] = {goal: {"method": kind, **_rows(kind, rows)}}
    return data


def with_choices(data: Mapping[str, Any], choices: tuple[Choice, ...]) -> dict[str, Any]:
    """Recipe data with every choice in place."""
    made = copy.deepcopy(dict(data))
    for choice in choices:
        *path, last = choice.key.split(".")
        place = made
        for part in path:
            place = place.setdefault(part, {})
        place[last] = choice.value
    return made


def _rows(kind: str, rows: str | None) -> dict[str, Any]:
    """The source of the method's rows. Raises ConfigError for a method whose rows no corpus provides."""
    if rows is not None:
        return {"data": rows}
    if kind not in TASKS:
        raise ConfigError(f"--goal {kind} requires a file of rows", hint="--data FILE")
    return {"task": TASKS[kind]}


def _check_rows(goal: str, rows: str | None, corpus: Mapping[str, Any], source: str) -> None:
    """Raises ConfigError without a file if the corpus does not provide the rows (labels or descriptions)."""
    if goal == BASE or rows is not None:
        return
    task = TASKS[OTHER_NAMES.get(goal, goal)]
    if not corpus.get(HOLDS[task]):
        raise ConfigError(f"{source} contains no {task} for --goal {goal}", hint="--data FILE")


def _about_steps(data: Mapping[str, Any]) -> tuple[Choice, ...]:
    """The reasons for the finetuning settings."""
    return tuple(
        Choice(f"finetune.{name}.method", step["method"], "the method of the goal, with its default settings")
        for name, step in data.get("finetune", {}).items()
    )


def _held_out(corpus: Mapping[str, Any]) -> tuple[Choice, ...]:
    """A larger share if there are few documents, so that measurements on them are meaningful."""
    held, train = corpus.get("heldout_documents", HELD_OUT), corpus.get("train_documents", 0)
    if held >= HELD_OUT:
        return ()
    share = min(MOST_HELD_OUT, round(1.05 * HELD_OUT / max(1, held + train), 3))
    return (
        Choice("corpus.heldout", share, f"{HELD_OUT} held-out documents or more: shares with a margin of 5.7 points"),
    )


def _about_time(outlook: Outlook, hours: float) -> list[str]:
    low, high = outlook.total
    if low > hours * 3600:
        return [f"it still takes longer than {hours:g} h: allow more time, or less finetuning and evaluation"]
    if high > hours * 3600:
        return [f"the upper end of the range is beyond {hours:g} h; --set pretrain.training.steps=... shortens the run"]
    return []
