"""What a recipe would do: which stages are cached, which run, which are skipped, and under what identity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tutelage.recipe.config import Recipe
from tutelage.recipe.graph import Node, life
from tutelage.store.artifacts import Artifact, ArtifactStore, identity_of
from tutelage.store.errors import ConfigError, DamagedError
from tutelage.store.hashing import sha256_file


@dataclass(frozen=True)
class Planned:
    """One stage of a plan.

    status: `cached`, `run`, `skipped`, `damaged` (made again) or `unknown` (only the corpus, once made, can tell
    whether it runs or is skipped); `why` explains. identity: None if it does not run, or depends on an unknown one.
    """

    node: Node
    status: str
    identity: str | None
    why: str = ""
    artifact: Artifact | None = None

    @property
    def stage(self) -> str:
        return self.node.name


def inputs_of(node: Node, known: Mapping[str, str]) -> dict[str, str]:
    """Identities of a node's inputs: of other nodes, and of the user's own files by content."""
    inputs = {role: known[name] for role, name in node.inputs.items() if name in known}
    inputs |= node.spec.identity(node.config)
    for key, given in node.spec.files(node.config).items():
        path = Path(given).expanduser()
        if not path.exists():
            raise ConfigError(f"{node.key}.{key}: {given} does not exist", hint=_where_looked(given, path))
        inputs[key] = _content(path)
    return inputs


def _where_looked(given: str, path: Path) -> str | None:
    """What may be wrong with a path that leads nowhere."""
    if "$" in given:
        return "environment variables are not read in a recipe: --set them on the command line, where the shell does"
    return None if path.is_absolute() else f"a relative path begins at the current folder, {Path.cwd()}"


def _content(path: Path) -> str:
    """Hash of a file, or of all files that are read from a model directory."""
    if path.is_file():
        return sha256_file(path)
    from tutelage.interchange.source import content_identity  # late: torch is slow to import

    return content_identity(path)


def look_up(
    node: Node, recipe: Recipe, store: ArtifactStore, known: Mapping[str, str], done: Mapping[str, Artifact]
) -> Planned:
    """State of one node, given the identities (`known`) and artifacts (`done`) of those before it."""
    inputs = inputs_of(node, known)
    missing = [name for role, name in node.inputs.items() if name not in known and not _may_lack(node, role)]
    if missing:
        return Planned(node, "skipped", None, f"needs {missing[0]}, which is skipped")
    asks_corpus = node.spec.why_not is not None and "corpus" in node.inputs
    if asks_corpus and node.spec.why_not and node.inputs["corpus"] in done:
        there = {role: done[name].path for role, name in node.inputs.items() if name in done}
        if reason := node.spec.why_not(node.config, there):
            return Planned(node, "skipped", None, reason)
    identity = identity_of(node.spec.kind, node.spec.version, node.identity_config(recipe), inputs)
    try:
        artifact = store.find(node.spec.kind, identity, verify=True)
    except DamagedError as error:
        return Planned(node, "damaged", identity, str(error))
    if artifact:
        return Planned(node, "cached", identity, artifact=artifact)
    if asks_corpus and node.inputs["corpus"] not in done:
        return Planned(node, "unknown", identity, "runs if the corpus turns out to have what it needs")
    work = store.work(node.spec.kind, identity)
    return Planned(node, "run", identity, "resumes from its checkpoint" if any_work(work) else "")


def _may_lack(node: Node, role: str) -> bool:
    """Whether a node runs without this input: figures are computed for whichever models there are."""
    return node.spec.makes == "figures" and role not in node.spec.needs(node.config)


def any_work(work: Path) -> bool:
    return work.is_dir() and any(work.iterdir())


def plan(recipe: Recipe, store: ArtifactStore, targets: Sequence[str] = ()) -> list[Planned]:
    """Every stage with its status, without running anything. Raises ConfigError for missing input."""
    planned: list[Planned] = []
    known: dict[str, str] = {}
    done: dict[str, Artifact] = {}
    status_of: dict[str, str] = {}
    for node in life(recipe, targets):
        state = look_up(node, recipe, store, known, done)
        doubtful = [(role, name) for role, name in node.inputs.items() if status_of.get(name) == "unknown"]
        if state.status == "run" and doubtful:
            role, name = doubtful[0]
            if _may_lack(node, role):
                state = replace(state, identity=None, why=f"includes {name} if it runs")
            else:
                state = replace(state, status="unknown", why=f"runs if {name} does")
        planned.append(state)
        status_of[node.name] = state.status
        if state.identity:
            known[node.name] = state.identity
        if state.artifact:
            done[node.name] = state.artifact
    return planned
