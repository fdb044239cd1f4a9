"""Sections that account for the run: time and memory, advice, provenance."""

from __future__ import annotations

from typing import Any

from tutelage.report.collect import Run, remarks
from tutelage.report.forecasts import forecast_blocks, peak_memory
from tutelage.report.forecasts import seconds as forecast_seconds
from tutelage.report.story import STATUS_WORDS, when
from tutelage.store import format as f
from tutelage.store.blocks import (
    Block,
    Cell,
    bar,
    bar_chart,
    code,
    facts,
    fold,
    heading,
    notice,
    prose,
    table,
    value_text,
)
from tutelage.store.plain import as_dict
from tutelage.store.view import View


def cost(run: Run) -> list[Block | None]:
    stages = [stage for stage in run.stages.values() if stage.seconds is not None or forecast_seconds(stage)]
    if not stages:
        return []
    bars, rows = [], list[list[Cell]]()
    for stage in stages:
        took, expected = stage.seconds, forecast_seconds(stage)
        ran = stage.status == "ran"
        note = "" if ran else "when it was made" if stage.status == "cached" else stage.status
        bars.append(bar(stage.title, took or 0.0, role="accent" if ran else "ink", note=note, ghost=expected))
        state = STATUS_WORDS.get(stage.status, stage.status)
        memory, disk = f.size(peak_memory(stage)), f.size(stored(stage))
        rows.append([stage.title, state, f.duration(took), memory, disk])
    columns = ["Stage", "Status", "Took#", "Peak memory#", "On disk#"]
    caption = "Time by stage; the outline is the forecast. For a cached stage, the time it took when it was made."
    chart = bar_chart(bars, title="Time by stage", unit="outline: forecast", show="duration", caption=caption)
    beside = forecast_blocks(run)
    return [chart, table(columns, rows), heading("Forecast and actual") if beside else None, *beside, *_speed(run)]


def _speed(run: Run) -> list[Block | None]:
    """Training against what this machine can do, and against the forecast that was made from its first steps."""
    rows: list[list[Cell]] = []
    for stage in run.stages.values():
        timing = as_dict(stage.metrics.get("timing"))
        if not f.is_number(timing.get("tokens_per_second")):
            continue
        share = next((timing[name] for name in ("mfu", "gemm_share") if f.is_number(timing.get(name))), None)
        memory = [f.size(as_bytes(timing.get(name))) for name in ("forecast_memory_mb", "memory_mb")]
        times = [f.duration(timing.get(name)) for name in ("forecast_seconds", "seconds")]
        rows.append([stage.title, f.number(timing["tokens_per_second"]), f.percent(share), *times, *memory])
    if not rows:
        return []
    columns = ["Stage", "Tokens/s#", "Of the ceiling#", "Forecast#", "Took#", "Memory, forecast#", "Memory#"]
    ceilings = [as_dict(stage.metrics.get("timing")).get("ceiling_gflops") for stage in run.stages.values()]
    ceiling = next(filter(f.is_number, ceilings), None)
    said = f" The ceiling is {f.number(ceiling)} GFLOP/s, matrix products on this machine." if ceiling else ""
    caption = (
        f"Training alone.{said} Its share counts the model’s own multiply-adds; the forecast is made from the first "
        "seconds. Memory is what training took on top of the process as it was."
    )
    return [heading("Speed of training"), table(columns, rows, caption)]


def as_bytes(megabytes: Any) -> float | None:
    return float(megabytes) * 2**20 if f.is_number(megabytes) else None


def stored(stage: View) -> int | None:
    files = as_dict(stage.manifest.get("files"))
    sizes = [
        record["bytes"] for record in files.values() if isinstance(record, dict) and f.is_number(record.get("bytes"))
    ]
    return sum(sizes) if sizes else None


def advice(run: Run) -> list[Block | None]:
    seen: dict[tuple[str, str], Block] = {}
    for event in remarks(run.events):
        said = str(event["message"])
        stage = run.stages.get(str(event.get("stage") or ""))
        where = f"{stage.title}: " if stage else ""
        seen.setdefault((where, said), notice(where + said, str(event["event"])))
    return [*sorted(seen.values(), key=lambda block: str(block["level"]) != "warning")]


def provenance(run: Run) -> list[Block | None]:
    made = [stage for stage in run.stages.values() if stage.manifest]
    names = {str(stage.identity): stage.title for stage in run.stages.values() if stage.identity}
    rows: list[list[Cell]] = []
    for stage in run.stages.values():
        inputs = as_dict(stage.manifest.get("inputs"))
        sources = [f"{names.get(str(value), f.words(str(name)))} {str(value)[:8]}" for name, value in inputs.items()]
        identity: Cell = {"text": stage.identity[:12] or f.NONE, "mark": "code"}
        commit: Cell = {"text": str(stage.manifest.get("git_commit") or f.NONE), "mark": "code"}
        made_at = when(stage.manifest.get("started")) or f.NONE
        rows.append([stage.title, identity, ", ".join(sources) or f.NONE, commit, made_at])
    newest = max(made, key=lambda stage: stage.manifest.get("started") or 0, default=None)
    manifest = newest.manifest if newest else {}
    packages = [(str(k), str(v)) for k, v in as_dict(manifest.get("packages")).items()]
    machine = [
        (f.words(str(k)).capitalize(), value_text(v))
        for k, v in as_dict(manifest.get("machine")).items()
        if v is not None
    ]
    return [
        prose(
            "Each stage’s result is named by a hash of its configuration, its inputs and its version. The same names "
            "mean the same results; running the recipe again takes them from the cache."
        ),
        table(["Stage", "Identity", "Made from", "Code", "Made"], rows),
        *(reproduction(run, manifest) if run.recipe_text else []),
        fold("The resolved recipe", [code(run.recipe_text)] if run.recipe_text else []),
        fold("Packages and machine", [facts(packages), facts(machine)]),
    ]


def reproduction(run: Run, manifest: dict[str, Any]) -> list[Block | None]:
    """The commands that make the same results again, and what they need. Where the text is the documentation of
    packages, their versions too."""
    read = next((as_dict(view.json("card.json").get("packages")) for view in run.stages.values() if view.done), {})
    versions = {**read, **as_dict(manifest.get("packages"))}
    pinned = [f"{name}=={str(version).partition('+')[0]}" for name, version in versions.items() if name not in _OWN]
    commit, _, changed = str(manifest.get("git_commit") or "").partition("+")
    lines = [
        f"git checkout {commit}" if commit else "",
        f"pip install {' '.join(pinned)}" if pinned else "",
        "tutelage run recipe.yaml",
    ]
    python = read.get("python") or as_dict(manifest.get("machine")).get("python")
    threads = as_dict(manifest.get("machine")).get("threads")
    said = [f"Python {python}" if python else "", f.plural(int(threads), "thread") if threads else ""]
    with_what = f.listing([one for one in said if one]) or "the same packages"
    text = (
        f"In a checkout of the code, with {with_what}; recipe.yaml is the resolved recipe, which stands below and in "
        "the run’s folder, and its paths begin where the command is typed. On the same kind of processor the weights "
        "are the same, bit for bit."
    ) + (" The code had changes that are not in its commit." if changed else "")
    return [heading("To reproduce it"), prose(text), code("\n".join(filter(None, lines)))]


_OWN = ("tutelage", "python")  # not from an index of packages
