"""What `tutelage finetune ... --audit` prints: exactly what would be trained on. Presentation only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.cli.options import notes, print_json
from tutelage.store.errors import ConfigError
from tutelage.store.events import EventLog

if TYPE_CHECKING:
    from rich.console import Console

    from tutelage.recipe.config import Recipe

LEARNED = "bold green"


def show_audit(recipe: Recipe, as_json: bool) -> None:
    """The audit of the first step of a recipe on the user's own file: printed, or as JSON."""
    from rich.console import Console

    from tutelage.finetuning import method

    assert recipe.base is not None
    step = next(iter(recipe.finetune.values()))
    spec = method(step.method)
    if spec.preflight is None:
        raise ConfigError(f"--audit does not support {step.method}")
    tok, model = _reader(recipe.base.source)
    heard: list[dict[str, Any]] = []
    found = spec.preflight(step.settings, tok, model, EventLog(None, (heard.append,)), recipe.data_seed)
    if as_json:
        print_json(found)
        return
    chosen = [event["message"] for event in heard if str(event.get("message", "")).startswith("context_length")]
    audit(Console(), found, chosen)


def _reader(source: str) -> tuple[Any, Any]:
    """Tokenizer and config of a model, without reading its weights where possible."""
    from tutelage.interchange.source import locate, open_model
    from tutelage.model.hf_config import load_config
    from tutelage.tokenizer.tokenizer import Tokenizer

    path = locate(source, notes()) if not Path(source).is_dir() else Path(source)
    if path.is_dir():
        return Tokenizer.load(path), load_config(path)
    model, tok = open_model(source, notes())
    return tok, model.config


def audit(console: Console, found: dict[str, Any], chosen: list[str]) -> None:
    """Print the whole audit, with its conclusions at the end."""
    for line in [*_file(found), *_tokens(found), *chosen, *_length(found), *_own(found), *_figures(found)]:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    _samples(console, found)
    if not found["findings"]:
        file = found.get("file")
        said = file and (file["warnings"] or file["dropped"])
        console.print("No problems found beyond those of the file, above." if said else "No problems found.",
                      highlight=False)  # fmt: skip
    for one in found["findings"]:
        mark = "[yellow]![/]" if one["level"] == "warning" else "[dim]-[/]"
        console.print(mark, end=" ", highlight=False)
        advice = f": {one['advice']}" if one["advice"] else ""
        console.print(one["message"] + advice, highlight=False, soft_wrap=True, markup=False)


def _file(found: dict[str, Any]) -> list[str]:
    lines, file, split = [], found.get("file"), found["split"]
    if file:
        named = ", ".join(f"{ours} is {theirs!r}" for ours, theirs in found["columns"].items())
        lines.append(f"File      {file['file']}: {file['format']}, {file['encoding']}")
        one = file["format"].count(" as ") == 1
        lines.append(f"          {'every kept row is of this layout' if one else 'the rows are of several layouts'}; "
                     f"{named or 'another reading: --column OURS=THEIRS'}")  # fmt: skip
        lines += [f"          {note}" for note in (*file["notes"], *file["warnings"])]
        lines.append(f"Rows      {file['rows']} read, {file['kept']} kept; {split['train']} to train on, "
                     f"{split['heldout']} held out")  # fmt: skip
        for reason, count in file["dropped"].items():
            places = ", ".join(map(str, file["examples"][reason]))
            more = ", ..." if count > len(file["examples"][reason]) else ""
            lines.append(f"          {count} dropped: {reason} ({file['unit']} {places}{more})")
        if file["ignored"]:
            lines.append(f"          unused fields: {', '.join(file['ignored'])}")
        for reason, count in found.get("refused", {}).items():
            lines.append(f"          {count} dropped: {reason}")
    return lines


def _tokens(found: dict[str, Any]) -> list[str]:
    tokens = found.get("tokens")
    if not tokens:
        return []
    lines = [f"Learned   {tokens['learned']:,} of {tokens['read']:,} tokens ({tokens['share']:.0%})"]
    for role, of in tokens["roles"].items():
        lines.append(f"          {role:<10}{of['read']:>10,} read {of['learned']:>10,} learned")
    said = f"{tokens['stopped_answers']} of {tokens['learned_answers']} trained answers end with a trained stop token"
    unlearned = tokens["answers"] - tokens["learned_answers"]
    lines.append(f"Stop      {said}" + (f"; {unlearned} answers are context only" if unlearned else ""))
    lines.append(f"Start     {tokens['double_start'] or 'no'} rows have a doubled begin-of-text token")
    return lines


def _length(found: dict[str, Any]) -> list[str]:
    length = found.get("length")
    if not length:
        return []
    lost = "dropped" if "dropped" in length else "cut"
    return [
        f"Length    median {length['median']}, longest {length['longest']} tokens; {length['context']} are read: "
        f"{length[lost]} of {length['rows']} {lost}",
        f"          95 % need {length['keeps_95']}, 99 % need {length['keeps_99']}",
    ]


def _own(found: dict[str, Any]) -> list[str]:
    """The method's own figures."""
    return [f"{title if not at else '':<10}{line}" for title, said in found.get("lines", ())
            for at, line in enumerate(said)]  # fmt: skip


def _figures(found: dict[str, Any]) -> list[str]:
    lines = []
    if double := found.get("duplicates"):
        lines.append(f"Repeats   {double['exact']} exact and {double['near']} near duplicates in training; "
                     f"{double['heldout_like_training']} held-out rows nearly in training")  # fmt: skip
        lines += [f"          e.g. {_short(a)} / {_short(b)}" for a, b in double["examples"][:1]]
    if most := found.get("repeated", {}).get("most"):
        lines.append(f"          most often asked: {_short(most[0][0])} ({most[0][1]} times)")
    if pairs := found.get("pairs"):
        both = f"{pairs['both_sides'] or 'none'} on both sides of the split"
        lines.append(f"Topics    {pairs['topics']} of {pairs['questions']} different questions, nearly the same ones "
                     f"taken together; the largest has {pairs['largest_topic']}, {both}")  # fmt: skip
    if labels := found.get("labels"):
        ranked = sorted(labels["labels"].items(), key=lambda item: -item[1])
        shown = ", ".join(f"{name} {count}" for name, count in ranked[:12])
        more = f", and {len(ranked) - 12} more" if len(ranked) > 12 else ""
        lines.append(f"Labels    {len(ranked)}: {shown}{more}; as even as {labels['effective']:g} equal ones")
    if noise := found.get("noise"):
        lines.append(
            f"Doubtful  {noise['suspected']} labels, by TF-IDF on the other folds ({noise['accuracy']:.0%} right)"
        )
        lines += [
            f"          {row['label']!r}, more likely {row['likelier']!r}: {_short(row['text'])}"
            for row in noise["most"]
        ]
    return lines


def _samples(console: Console, found: dict[str, Any]) -> None:
    """A row as the model reads it: the trained part in colour, or between marks without colour."""
    from rich.text import Text

    from tutelage.finetuning.preflight.sample import marked

    colour = console.is_terminal and not console.no_color
    for one in found.get("sample", ()):
        title = f" ({one['title']})" if one["title"] else ""
        what = one.get("how") or "learned"
        how = f"[{LEARNED}]{what}[/]" if colour else f"{what} between marks"
        console.print(f"Sample{title}, {how}:", highlight=False)
        if colour:
            console.print(Text.assemble(*((text, LEARNED if learned else "dim") for text, learned in one["runs"])))
        else:
            console.print(marked(one["runs"]), highlight=False, soft_wrap=True, markup=False)


def _short(text: str, most: int = 60) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= most else line[: most - 3] + "...")
