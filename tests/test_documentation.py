"""The documentation says what is so: every command can be typed, every setting exists, every link leads somewhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from command_line import VERBS, wrong
from documented import PAGES, ROOT, Command, Piece, anchors, commands, fenced, links, mentioned, spans
from tutelage.cli.main import app
from tutelage.evaluation.bench.task import read_task
from tutelage.recipe.config import Recipe

OF_OTHERS = {"--help", "--log_samples", "--max-restarts", "--requeue"}  # everyone's; lm_eval's, torchrun's, sbatch's
PATHS = re.compile(r"(?<![\w/.-])(?:recipes|benchmarks|tests|docs|skills)/[\w./-]+\.\w+")


def of_every_page(test: Callable[..., None]) -> Callable[..., None]:
    """A page at a time: a failure lists all that is wrong in it."""
    return pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))(test)


@of_every_page
def test_commands_can_be_typed(page: Path) -> None:
    found = [text for command in commands(page, VERBS) if (text := wrong(command))]
    assert not found, "\n".join(found)


PAGE = """
`tutelage plan --hour 8`, `run a b c`, `tutelage chat|generat -m X`, `--set a.b=c`, `tutelage evaluate ...`

    srun torchrun --nnodes 2 \\
        -m tutelage run recipe.yaml --nprocs 2

```
A=1 tutelage serve --port x && tutelage plan | tutelage trace
tutelage ablate recipe.yaml --vary pretrain.training.optimiser=muon,adamw
tutelage ablate recipe.yaml --vary pretrain.training.optimizer=muon,adamw
```
"""


def test_commands_are_found_and_what_is_wrong_with_them(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    every = commands(page, VERBS)
    faulty = [" ".join(command.arguments[:4]) for command in every if wrong(command)]
    assert len(every) == 11 and faulty == [
        "run recipe.yaml --nprocs 2", "serve --port x",
        "ablate recipe.yaml --vary pretrain.training.optimiser=muon,adamw",
        "plan --hour 8", "run a b c", "generat -m X",
    ]  # fmt: skip


@of_every_page
def test_options_exist(page: Path) -> None:
    """Options that a sentence names, whichever verb they belong to, and settings behind `--set`."""
    found = list[str | None]()
    for piece in spans(page):
        name, *rest = piece.text.split() or [""]
        if re.match(r"--\w", name) and name.split("=")[0] not in known_options() | OF_OTHERS:
            found.append(f"{piece}: {name} is an option of no verb")
        if name == "--set" and rest:
            found += [
                wrong(Command(piece, words, whole=False)) for words in mentioned(f"tutelage plan {piece.text}", VERBS)
            ]
    assert not any(found), "\n".join(filter(None, found))


@cache
def known_options() -> set[str]:
    found, pending = set[str](), [typer.main.get_command(app)]
    while pending:
        command: Any = pending.pop()
        found |= {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        pending += getattr(command, "commands", {}).values()
    return found


def helped(command: Any, verb: str = "") -> Iterator[tuple[str, str]]:
    """The help texts of a command, its options and its commands, each with the verb it belongs to."""
    yield verb, command.help or ""
    yield from ((verb, getattr(parameter, "help", "") or "") for parameter in command.params)
    for name, inner in getattr(command, "commands", {}).items():
        yield from helped(inner, f"{verb} {name}".strip())


def test_examples_in_help_can_be_typed() -> None:
    """Whole commands behind `Example:`, options of the verb itself behind `e.g.`, and what else is named."""
    found, examples, options = [], 0, 0
    for verb, text in helped(typer.main.get_command(app)):
        for lead, code in re.findall(r"(Example: |[Ee]\.g\. )?`([^`]+)`", text):
            of_verb = bool(lead) and code.startswith("-")
            examples, options = examples + (lead == "Example: "), options + of_verb
            for words in mentioned(f"tutelage {verb} {code}" if of_verb else code, VERBS):
                if problem := wrong(Command(Piece(ROOT, 0, code), words, whole=lead == "Example: ")):
                    found.append(f"tutelage {verb} --help: {problem}")
    assert examples > 25 and options > 60 and not found, "\n".join(found)


# What else a page names.


@of_every_page
def test_recipes_and_tasks_are_valid(page: Path, tmp_path: Path) -> None:
    for block in fenced(page):
        if block.language == "yaml":
            data = yaml.safe_load(block.text)
            if set(data) <= set(Recipe.model_fields):
                Recipe.parse(data, where=str(block))
            else:
                (tmp_path / "task.yaml").write_text(block.text)
                read_task(tmp_path / "task.yaml")


@of_every_page
def test_no_merge_was_left_half_done(page: Path) -> None:
    assert not re.findall(r"^(?:<{7}|>{7}) .*", page.read_text(encoding="utf-8"), flags=re.MULTILINE)


@of_every_page
def test_links_lead_somewhere(page: Path) -> None:
    found = []
    for link in links(page):
        path, _, anchor = link.text.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            found.append(f"{link}: {link.text} does not exist")
        elif anchor and anchor not in anchors(target):
            found.append(f"{link}: {target.name} has no heading #{anchor}; it has {', '.join(sorted(anchors(target)))}")
    assert not found, "\n".join(found)


def test_the_site_has_the_pages_it_names() -> None:
    """`make docs` says which pages it does not name."""
    named = re.findall(r": ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), flags=re.MULTILINE)
    placed = (ROOT / "docs" / "hooks.py").read_text(encoding="utf-8")
    assert len(named) > 20 and len(set(named)) == len(named)
    assert [page for page in named if not (ROOT / "docs" / page).is_file() and f'"{page}"' not in placed] == []


@of_every_page
def test_files_and_scripts_exist(page: Path) -> None:
    """Files of the repository, scripts and their options, targets of make, extras of the package."""
    texts = [*fenced(page), *spans(page)]
    found = [f"{one}: {path}" for one in texts for path in PATHS.findall(one.text) if not (ROOT / path).exists()]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for one in texts:
        for line in one.text.splitlines():
            if target := re.match(r"make ([a-z]+)", line):
                found += [] if f"\n{target[1]}:" in makefile else [f"{one}: make has no target {target[1]}"]
            if extra := re.search(r"tutelage\[([a-z]+)\]", line):
                found += [] if f"\n{extra[1]} = [" in project else [f"{one}: there is no extra {extra[1]}"]
            if script := re.match(r"(?:python )?(?:benchmarks/)?(\w+\.py)((?: .*)?)$", line):
                found += script_faults(one, script[1], script[2])
    assert not found, "\n".join(found)


def script_faults(piece: Piece, name: str, rest: str) -> list[str]:
    places = [path for path in ROOT.rglob(name) if ".venv" not in path.parts]
    if not places:
        return [f"{piece}: there is no script {name}"]
    if not (path := ROOT / "benchmarks" / name).is_file():
        return []
    known = path.read_text(encoding="utf-8") + (ROOT / "benchmarks" / "common.py").read_text(encoding="utf-8")
    return [f"{piece}: {name} has no {word}" for word in re.findall(r"--[\w-]+", rest) if f'"{word}"' not in known]
