"""Report blocks on the training data: statistics, warnings, and a row as the model reads it."""

from __future__ import annotations

from tutelage.finetuning.preflight.sample import LEARNED
from tutelage.finetuning.preflight.tell import FILE
from tutelage.store import format as f
from tutelage.store.blocks import Block, Cell, facts, fold, marked, notice, prose, table
from tutelage.store.plain import as_dict
from tutelage.store.view import View


def audit_blocks(view: View) -> list[Block | None]:
    """Empty for an (older) artifact without an audit."""
    found = view.json(FILE)
    if not found:
        return []
    warned = [one for one in found.get("findings", ()) if one.get("level") == "warning"]
    said = [
        notice(f.sentence(one["message"] + (f" ({one['advice']})" if one.get("advice") else "")), "warning")
        for one in warned
    ]
    rows: list[list[Cell]] = [
        [role, f.number(of.get("read")), f.number(of.get("learned"))]
        for role, of in as_dict(as_dict(found.get("tokens")).get("roles")).items()
    ]
    blocks: list[Block | None] = [
        facts(_facts(found)),
        table(["Tokens of", "Read#", "With loss#"], rows),
        *[block for one in found.get("sample", ()) for block in _sample(one)],
    ]
    return [*said, fold("Training data in detail", blocks)]


def _facts(found: dict[str, object]) -> list[tuple[str, str]]:
    tokens, length, bias = (as_dict(found.get(name)) for name in ("tokens", "length", "bias"))
    double, split = as_dict(found.get("duplicates")), as_dict(found.get("split"))
    pairs = [("Rows", f"{f.number(split.get('train'))} for training, {f.number(split.get('heldout'))} held out")]
    if tokens:
        pairs.append(
            ("Answers with a trained stop token", f"{tokens['stopped_answers']} of {tokens['learned_answers']}")
        )
        pairs.append(("Tokens with loss", f.percent(tokens["share"])))
    if length:
        pairs.append(("Context", f"{length['context']} tokens; 99 % of the rows need {length['keeps_99']}"))
    if double:
        pairs.append(("Near duplicates", f"{double['near']} in training, {double['heldout_like_training']} held out"))
    if bias:
        pairs.append(("Longer answer chosen", f"{f.percent(bias['share'])} of the pairs"))
    for title, said in found.get("lines", ()):  # type: ignore[attr-defined]
        pairs.append((str(title), "; ".join(said)))
    return pairs


def _sample(one: dict[str, object]) -> list[Block]:
    title, runs = str(one.get("title") or ""), one.get("runs")
    which = f" ({title})" if title else ""
    return [
        prose(f"A row as the model reads it{which}; highlighted text is {one.get('how') or LEARNED}."),
        marked(runs if isinstance(runs, list) else []),
    ]
