"""Spec of the import of an external model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.interchange.config import AdoptConfig
from tutelage.interchange.gguf.split import parts
from tutelage.store.late import late
from tutelage.store.stage import Headline, Job, StageSpec


def _run(job: Job) -> dict[str, Any]:
    from tutelage.interchange.adopt import adopt

    return adopt(job.config, out=job.out, log=job.log)


def _files(config: AdoptConfig) -> dict[str, str]:
    """The file (all its parts) or directory to hash; nothing for a name, which identifies its model."""
    path = Path(config.source).expanduser()
    if not path.is_file():
        # What can only be a path is one, so that it is missed before anything runs.
        only_a_path = config.source.startswith(("/", "./", "../", "~")) or config.source.count("/") > 1
        return {"source": config.source} if path.exists() or only_a_path else {}
    first, *others = map(str, parts(path))
    return {"source": first, **{f"source, part {number}": part for number, part in enumerate(others, 2)}}


SPEC = StageSpec(
    kind="adopt",
    version=2,
    title="Adopted model",
    config=AdoptConfig,
    run=_run,
    makes="language model",
    files=_files,
    headline=("adopted", "parameters"),
    glance=(Headline("bits per byte", "Bits per byte, held out"), Headline("word order", "Word order accuracy")),
    section=late("tutelage.interchange.report:section"),
    sentence=late("tutelage.interchange.report:sentence"),
    forecast=late("tutelage.interchange.forecast:forecast"),
    result_facts=late("tutelage.interchange.forecast:figures"),
)
