"""What a recipe would do: which stages are cached, which run, which are not wanted, and under what identity."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tutelage.recipe.config import Recipe
from tutelage.recipe.graph import Stage, stages_for
from tutelage.store.artifacts import Artifact, ArtifactStore, identity_of
from tutelage.store.errors import ConfigError, DamagedError
from tutelage.store.hashing import sha256_file, sha256_json


@dataclass(frozen=True)
class Planned:
    """One stage of a plan.

    status: `cached`, `run`, `skipped`, `damaged` (made again) or `unknown` (only the corpus, once made, can tell
    whether it runs or is skipped); `why` explains. identity: None where it does not run, or hangs on an unknown one.
    """

    stage: str
    status: str
    identity: str | None
    why: str = ""
    artifact: Artifact | None = None


def inputs_of(stage: Stage, recipe: Recipe, known: dict[str, str]) -> dict[str, str]:
    """Identities of a stage's inputs: of other stages, of the corpus's source, of the user's own file by content."""
    if stage.name == "corpus":
        from tutelage.corpus.stage import source_identity

        return {"source": source_identity(recipe.corpus)}
    inputs = {name: known[name] for name in stage.needs + stage.uses if name in known}
    if data := stage.data(recipe):
        inputs["data"] = _content(Path(data).expanduser())
    for number, corpus in enumerate(stage.corpora(recipe)):
        path = Path(corpus).expanduser() / "train.parquet"
        if not path.is_file():
            raise ConfigError(f"pretrain.mixture: {corpus} is not a corpus directory", hint="it has no train.parquet")
        inputs[f"mixture.{number}"] = sha256_file(path)
    return inputs


def _content(path: Path) -> str:
    """Hash of a file, or of the files of a model directory."""
    if path.is_file():
        return sha256_file(path)
    kinds = (".json", ".safetensors", ".jinja")
    return sha256_json({each.name: sha256_file(each) for each in sorted(path.iterdir()) if each.suffix in kinds})


def look_up(
    stage: Stage, recipe: Recipe, store: ArtifactStore, known: dict[str, str], done: dict[str, Artifact]
) -> Planned:
    """State of one stage, given the identities (`known`) and artifacts (`done`) of those before it."""
    if not stage.wanted(recipe):
        return Planned(stage.name, "skipped", None, "not wanted by the recipe")
    missing = [name for name in stage.needs if name not in known]
    if missing:
        return Planned(stage.name, "skipped", None, f"needs {missing[0]}, which is skipped")
    if stage.why_not and "corpus" in done:
        reason = stage.why_not(recipe, done["corpus"].path)
        if reason:
            return Planned(stage.name, "skipped", None, reason)
    if (data := stage.data(recipe)) and not Path(data).expanduser().exists():
        raise ConfigError(f"finetune.{stage.name}.data: the file {data} does not exist")
    identity = identity_of(stage.name, stage.version, stage.config(recipe), inputs_of(stage, recipe, known))
    try:
        artifact = store.find(stage.name, identity, verify=True)
    except DamagedError as error:
        return Planned(stage.name, "damaged", identity, str(error))
    if artifact:
        return Planned(stage.name, "cached", identity, artifact=artifact)
    if stage.why_not and "corpus" not in done:
        return Planned(stage.name, "unknown", identity, "runs if the corpus turns out to have what it needs")
    work = store.work(stage.name, identity)
    return Planned(stage.name, "run", identity, "goes on from its checkpoint" if any_work(work) else "")


def _first_unknown(names: tuple[str, ...], status_of: dict[str, str]) -> str | None:
    return next((name for name in names if status_of.get(name) == "unknown"), None)


def any_work(work: Path) -> bool:
    return work.is_dir() and any(work.iterdir())


def plan(recipe: Recipe, store: ArtifactStore, targets: tuple[str, ...] = ()) -> list[Planned]:
    """Every stage with its status, without running anything. Raises ConfigError for input that is not there."""
    planned: list[Planned] = []
    known: dict[str, str] = {}
    done: dict[str, Artifact] = {}
    for stage in stages_for(targets):
        state = look_up(stage, recipe, store, known, done)
        status_of = {earlier.stage: earlier.status for earlier in planned}
        if state.status == "run" and (doubt := _first_unknown(stage.needs, status_of)):
            state = replace(state, status="unknown", why=f"runs if {doubt} does")
        elif state.status == "run" and (doubt := _first_unknown(stage.uses, status_of)):
            state = replace(state, identity=None, why=f"takes {doubt} in if it runs")
        planned.append(state)
        if state.identity:
            known[stage.name] = state.identity
        if state.artifact:
            done[stage.name] = state.artifact
    return planned
