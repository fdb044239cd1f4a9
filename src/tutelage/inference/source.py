"""Resolve a model source: a model directory, an artifact, or a run folder."""

from __future__ import annotations

import json
from pathlib import Path

from tutelage.store.artifacts import MANIFEST, open_artifact
from tutelage.store.errors import DamagedError, InputError
from tutelage.store.files import finish_save

RUN = "run.json"


def find_model(source: Path | str) -> Path:
    """The model directory of `source`; for a run, its chat model.

    Raises InputError, naming what was found instead, DamagedError for an artifact with incomplete files.
    """
    source = Path(source).expanduser()
    if not source.exists():
        raise InputError(f"no model at {source}: it does not exist", hint=_what_is_in(source.parent))
    if not source.is_dir():
        raise InputError(f"{source} is a file, not a model directory", hint=_what_is_in(source.parent))
    finish_save(source)
    if (source / RUN).is_file():
        return _chat_model(source)
    if (source / "config.json").is_file():
        if (source / MANIFEST).is_file():
            open_artifact(source)
        return source
    if (source / "adapter_config.json").is_file():
        raise InputError(
            f"{source} is an adapter, not a model",
            hint=f"load it on its base model: -m MODEL --adapter {source}",
        )
    raise InputError(f"{source} is not a model: it has neither config.json nor {RUN}", hint=_what_is_in(source))


def _chat_model(run: Path) -> Path:
    try:
        data = json.loads((run / RUN).read_text(encoding="utf-8"))
        chosen, stages = data.get("chat_model"), data.get("stages", [])
    except (ValueError, AttributeError):
        raise DamagedError(f"{run / RUN} is damaged", hint="run the recipe again; finished stages are kept") from None
    if not chosen:
        states = ", ".join(f"{stage.get('stage')} {stage.get('status')}" for stage in stages) or "none"
        raise InputError(f"the run {run} has no model yet (stages: {states})", hint="run its recipe to the end")
    directory = run / chosen
    if not directory.is_dir():
        raise InputError(f"the run {run} names the model {chosen}, which does not exist", hint="run the recipe again")
    return find_model(directory)


def _what_is_in(directory: Path) -> str:
    """Suggestions: the models in a directory, or else its entries."""
    try:
        entries = sorted(directory.iterdir())
    except OSError:
        return f"{directory} cannot be listed either"
    models = [entry for entry in entries if (entry / "config.json").is_file() or (entry / RUN).is_file()]
    names = [entry.name + ("/" if entry.is_dir() else "") for entry in models or entries if entry.name[0] != "."]
    what = "models" if models else "files"
    shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return f"{what} in {directory}: {shown or 'none'}"
