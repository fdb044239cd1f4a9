"""`tutelage mcp`: the verbs as tools over standard input and output, by the official SDK.

Every tool is the command of the same name with `--json`, in a process of its own: the same functions, messages and exit
codes, and no second logic. What is handed on is checked first (`guard.py`): paths stay inside one root, and without
`--allow-write` nothing is written there or fetched.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from tutelage.agents.guard import Guard
from tutelage.agents.jobs import Command, Jobs, Place
from tutelage.store.errors import ConfigError, TutelageError

if TYPE_CHECKING:
    from mcp.server import MCPServer

LIMIT = 40_000  # characters of a result
WAIT = 50.0  # seconds: clients often give up after sixty

Recipe = Annotated[str | None, Field(description="Recipe file (YAML) in the root; none: the quickstart's.")]
Sets = Annotated[list[str] | None, Field(description="Overrides of recipe keys, `a.b=value`.")]
Model = Annotated[
    str | None, Field(description="Run folder, RUN/STEP, or model directory in the root; none: the last run's model.")
]
Runs = Annotated[str, Field(description="Folder of runs and artifacts, in the root.")]
Wait = Annotated[float, Field(ge=0, le=3600, description="Seconds to wait; then say how far it is.")]
Vary = Annotated[
    list[str],
    Field(
        min_length=1,
        description="`KEY=A,B`: a recipe key and its values, the first is the baseline; or `KEY=B` against the recipe.",
    ),
]
What = Annotated[
    Literal["record", "lineage", "architecture"],
    Field(description="record: its JSON, of an ablation the ledger too; lineage: back to the documents."),
]
Temperature = Annotated[float, Field(ge=0, le=5)]
Tokens = Annotated[int, Field(ge=1, le=4096)]


def instructions(root: Path, write: bool) -> str:
    """The instructions that clients read."""
    may = "`run` and `ablate` may write there." if write else "It is read-only: no `run`, no `ablate`."
    return (
        f"Tutelage trains, compares and uses small language models. Paths are relative to {root}; nothing outside "
        f"is accessible. {may} Propose one change at a time, ask `ablate`, and keep the change only at exit code 0; 3 "
        "means that it is no better, 4 that more seeds are needed. A call that takes long answers `running`: call "
        "again with "
        "the same arguments."
    )


def build(root: Path, write: bool = False, limit: int = LIMIT, command: tuple[str, ...] = ()) -> MCPServer[Any]:
    """The server with its tools. Raises ConfigError where the SDK is missing or `root` is not a folder.

    write: offer `run` and `ablate`, and fetch what is named. limit: characters of a result. command: in place of
    `python -m tutelage`.
    """
    try:
        from mcp.server import MCPServer
        from mcp.types import ToolAnnotations
    except ImportError:
        raise ConfigError("the MCP server needs the SDK", hint="pip install 'tutelage[agents]'") from None
    root = root.resolve()
    if not root.is_dir():
        raise ConfigError(f"--root {root} is not a folder")
    guard = Guard(root, network=write)
    quiet = {} if write else {"TUTELAGE_READ_ONLY": "1", "HF_HUB_OFFLINE": "1"}
    jobs = Jobs(root, limit, {**quiet, "COLUMNS": "160"}, command)

    @contextlib.asynccontextmanager
    async def lifespan(server: MCPServer[Any]) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await jobs.close()

    from tutelage import __version__

    server: MCPServer[Any] = MCPServer(
        "tutelage", title="Tutelage", instructions=instructions(root, write), version=__version__, lifespan=lifespan,
        log_level="WARNING",
    )  # fmt: skip
    reads = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
    writes = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
    for tool in (*reading_tools(guard, jobs), *(writing_tools(guard, jobs) if write else ())):
        hints = writes if tool.__name__ in ("run", "ablate") else reads
        server.add_tool(tool, annotations=hints, structured_output=False)
    return server


Tool = Callable[..., Any]


def reading_tools(guard: Guard, jobs: Jobs) -> list[Tool]:
    """Tools that leave no trace in the root. Their docstrings and annotations are what the client sees."""

    async def plan(recipe: Recipe = None, set: Sets = None, runs: Runs = "runs", wait: Wait = WAIT) -> str:
        """What a recipe would do: stages that are cached or would run, forecast of time and memory, advice."""
        return await _answer(jobs, wait, lambda: ["plan", *_out(guard, runs), *_recipe(guard, recipe, set)])

    async def advise(recipe: Recipe = None, set: Sets = None, runs: Runs = "runs", wait: Wait = WAIT) -> str:
        """What the rules of thumb say of a recipe, the worst first, with source and the override that mends it."""
        return await _answer(jobs, wait, lambda: ["advise", *_out(guard, runs), *_recipe(guard, recipe, set)])

    async def compare(
        results: Annotated[list[str], Field(min_length=2, description="Folders of results; the first is the baseline")],
        correction: Literal["holm", "bh", "none"] = "holm",
        wait: Wait = WAIT,
    ) -> str:
        """Paired verdicts on measured results. Exit code 3: something is surely worse than in the first folder."""
        return await _answer(
            jobs, wait,
            lambda: ["compare", f"--correction={correction}", "--", *(guard.path(one, "results") for one in results)],
        )  # fmt: skip

    async def evaluate(
        model: Model = None,
        task: Annotated[list[str] | None, Field(description="Benchmarks by name.")] = None,
        data: Annotated[str | None, Field(description="Own rows (JSON lines, CSV, Parquet) in the root.")] = None,
        context: Annotated[str | None, Field(description="With data: column or template of the question.")] = None,
        choices: Annotated[str | None, Field(description="With data: column(s) of the choices.")] = None,
        gold: Annotated[str | None, Field(description="With data: column of the right answer.")] = None,
        limit: Annotated[int | None, Field(ge=1)] = None,
        runs: Runs = "runs",
        wait: Wait = WAIT,
    ) -> str:
        """Measure a model on benchmarks or own rows: scores with intervals, chance, and what trivial rivals get."""

        def arguments() -> list[str | Place]:
            columns = {"context": context, "choices": choices, "gold": gold}
            return [
                "evaluate", _model(guard, model, runs), "--no-cache", Place("--out=", "result"),
                *(f"--task={one}" for one in task or []), *([f"--data={guard.path(data, 'data')}"] if data else []),
                *(f"--{name}={value}" for name, value in columns.items() if value),
                *([f"--limit={limit}"] if limit else []),
            ]  # fmt: skip

        return await _answer(jobs, wait, arguments)

    async def classify(
        texts: Annotated[list[str], Field(min_length=1, max_length=1000)],
        model: Model = None,
        at_least: Annotated[
            float, Field(ge=0, le=1, description="Name a label only at or above this probability.")
        ] = 0.0,
        runs: Runs = "runs",
        wait: Wait = WAIT,
    ) -> str:
        """Label and probabilities of each text, by a run's classifier."""
        rows = "".join(json.dumps({"text": one}) + "\n" for one in texts)
        return await _answer(
            jobs, wait,
            lambda: ["classify", _model(guard, model, runs), "--column=text", f"--at-least={at_least}",
                     *_out(guard, runs), "--", Place("", "texts.jsonl")],
            {"texts.jsonl": rows},
        )  # fmt: skip

    async def chat(
        message: str, model: Model = None, system: str | None = None, temperature: Temperature = 0.0,
        max_tokens: Tokens = 200, seed: int = 0, runs: Runs = "runs", wait: Wait = WAIT,
    ) -> str:  # fmt: skip
        """One question to a model, and its answer."""
        more = [f"--system={system}"] if system else []
        return await _answer(
            jobs, wait,
            lambda: ["chat", _model(guard, model, runs), *more, f"--message={message}", f"--temperature={temperature}",
                     f"--max-tokens={max_tokens}", f"--seed={seed}", *_out(guard, runs)],
        )  # fmt: skip

    async def generate(
        prompt: str, model: Model = None, temperature: Temperature = 0.8, max_tokens: Tokens = 100,
        n: Annotated[int, Field(ge=1, le=64)] = 1, seed: int = 0, runs: Runs = "runs", wait: Wait = WAIT,
    ) -> str:  # fmt: skip
        """Continue a text."""
        return await _answer(
            jobs, wait,
            lambda: ["generate", _model(guard, model, runs), f"--temperature={temperature}",
                     f"--max-tokens={max_tokens}", f"--n={n}", f"--seed={seed}", *_out(guard, runs), "--", "-"],
            {"stdin": prompt},
        )  # fmt: skip

    async def inspect(path: str, what: What = "record", runs: Runs = "runs", wait: Wait = WAIT) -> str:
        """What is known of a run, artifact, model or ablation in the root."""
        if what == "record":
            return _said(lambda: _record(Path(guard.path(path, "path")), jobs.limit))
        verb = ["lineage"] if what == "lineage" else ["model", "describe"]
        return await _answer(jobs, wait, lambda: [*verb, *_out(guard, runs), "--", guard.model(path, "path")])

    return [plan, advise, compare, evaluate, classify, chat, generate, inspect]


def writing_tools(guard: Guard, jobs: Jobs) -> list[Tool]:
    """Tools that write runs and artifacts into the root."""

    async def run(recipe: Recipe = None, set: Sets = None, runs: Runs = "runs", wait: Wait = WAIT) -> str:
        """Run a recipe: only what is not cached. The result names every stage's main figures."""
        verb = "quickstart" if recipe is None else "run"
        return await _answer(jobs, wait, lambda: [verb, *_out(guard, runs), *_recipe(guard, recipe, set)])

    async def ablate(
        vary: Vary,
        recipe: Recipe = None,
        set: Sets = None,
        seeds: Annotated[int, Field(ge=1, le=64)] = 3,
        match: Literal["steps", "tokens", "seconds"] = "steps",
        question: Annotated[
            str | None, Field(description="Whose ledger counts this try; none: the recipe's name")
        ] = None,
        runs: Runs = "runs",
        wait: Wait = WAIT,
    ) -> str:
        """Whether a change helps or is noise: several seeds, paired verdicts, corrected for everything tried so far.

        Exit code 0: something is better, keep it; 3: nothing is; 4: too few seeds to say.
        """

        def arguments() -> list[str]:
            from tutelage.ablation.arms import arms_of

            file = Path(guard.path(recipe, "recipe")) if recipe is not None else None
            for arm in arms_of(file, set or [], vary):
                guard.reaches(arm.recipe)
            name = [f"--question={question}"] if question else []
            return ["ablate", *(f"--vary={one}" for one in vary), f"--seeds={seeds}", f"--match={match}", *name,
                    *_out(guard, runs), *_recipe(guard, recipe, set)]  # fmt: skip

        return await _answer(jobs, wait, arguments)

    return [run, ablate]


async def _answer(jobs: Jobs, wait: float, arguments: Callable[[], Any], files: dict[str, str] | None = None) -> str:
    """The result of a command as JSON text; what is refused is an error with its reason."""
    try:
        given: list[str | Place] = arguments()
        if any(isinstance(one, str) and "\0" in one for one in given):
            raise ConfigError("a NUL byte is not text")
        at = given.index("--") if "--" in given else len(given)
        command = Command((*given[:at], "--json", *given[at:]), tuple((files or {}).items()))
        return json.dumps(await jobs.call(command, wait), ensure_ascii=False)
    except TutelageError as error:
        return _refused(error)


def _said(make: Callable[[], Any]) -> str:
    try:
        return json.dumps(make(), ensure_ascii=False)
    except TutelageError as error:
        return _refused(error)


def _refused(error: TutelageError) -> str:
    said = f"error: {error.message}" + (f"\nhint: {error.hint}" if error.hint else "")
    return json.dumps({"exit_code": error.exit_code, "meaning": "refused", "error": said}, ensure_ascii=False)


def _recipe(guard: Guard, recipe: str | None, sets: list[str] | None) -> list[str]:
    """Overrides and the recipe file, once the whole recipe has been looked at; they go last."""
    guard.recipe(recipe, sets or [])
    options = [f"--set={one}" for one in sets or []]
    return [*options, *(["--", guard.path(recipe, "recipe")] if recipe is not None else [])]


def _out(guard: Guard, runs: str) -> list[str]:
    return [f"--out={guard.path(runs, 'runs')}"]


def _model(guard: Guard, model: str | None, runs: str) -> str:
    return f"--model={guard.model(model) if model else guard.latest(runs)}"


def _record(path: Path, limit: int) -> dict[str, Any]:
    """The JSON that a folder is described by; of an ablation the newest tries of its ledger too."""
    for name in ("run.json", "manifest.json", "ablation.json", "result.json", "config.json"):
        if (path / name).is_file():
            text = (path / name).read_text(encoding="utf-8")
            if len(text) > limit:
                return {"file": name, "truncated": True, "characters": len(text), "text": text[:limit]}
            found: dict[str, Any] = {"file": name, "result": json.loads(text)}
            if name == "ablation.json" and (path / "ledger.jsonl").is_file():
                lines = (path / "ledger.jsonl").read_text(encoding="utf-8").splitlines()
                found["ledger"] = [json.loads(line) for line in lines[-20:]]
            return found
    raise ConfigError(f"{path} is not a run, artifact, model or ablation")
