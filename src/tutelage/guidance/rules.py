"""Advice: the rules of thumb of every stage of a recipe, checked on its facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tutelage.guidance.forecast import NodeLike, Outlook
from tutelage.store.kinds import every_spec
from tutelage.store.plain import flat
from tutelage.store.stage import Facts, Level, Rule

_ORDER = ("error", "warning", "note")


@dataclass(frozen=True)
class Advice:
    """The finding of a rule. `fix` is a `--set` option, or empty."""

    level: Level
    rule: str
    stage: str
    message: str
    fix: str
    source: str


def advise(nodes: Sequence[NodeLike], outlook: Outlook) -> list[Advice]:
    """All advice on the stages of a recipe, errors first."""
    found = []
    for node in nodes:
        facts = facts_of(node, outlook, nodes)
        for rule in node.spec.rules():
            if (finding := rule.check(facts)) is not None:
                found.append(Advice(finding[0], rule.id, node.name, finding[1], finding[2], rule.source))
    return sorted(found, key=lambda advice: _ORDER.index(advice.level))


def every_rule() -> list[tuple[str, Rule]]:
    """All distinct rules, with the kinds of stage that they apply to."""
    kinds: dict[str, tuple[list[str], Rule]] = {}
    for spec in every_spec():
        for rule in spec.rules():
            kinds.setdefault(rule.id, ([], rule))[0].append(spec.kind)
    return [(", ".join(names), rule) for names, rule in kinds.values()]


def facts_of(node: NodeLike, outlook: Outlook, nodes: Sequence[NodeLike] = ()) -> Facts:
    """The facts of a stage for rules: its settings, its place in the recipe, its inputs by role, its result.

    For the whole recipe `life.files`: the user's own files by the key that names them.
    """
    facts: dict[str, Any] = {"key": node.key, **flat(node.config.plain())}
    facts["life.files"] = {
        f"{one.key}.{name}": path for one in nodes for name, path in one.spec.files(one.config).items()
    }
    for role, name in node.inputs.items():
        facts |= {f"{role}.{key}": value for key, value in outlook.facts.get(name, {}).items()}
    facts |= {f"result.{key}": value for key, value in outlook.facts.get(node.name, {}).items()}
    return facts
