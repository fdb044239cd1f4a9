"""The page of a run while it trains: the state from `report/live.py`, in the style of the report."""

from __future__ import annotations

from tutelage.report.live import DONE, Live, conclusion
from tutelage.report.page import Section, page
from tutelage.store import format as f
from tutelage.store.blocks import Block, facts, line, line_chart, notice, table

NAME = "watch.html"
REFRESH = 5  # seconds


def live_page(live: Live, now: float) -> str:
    """The page as HTML text. It reloads itself until the run is over."""
    going = live.condition(now) in ("running", "silent")
    sections: list[Section] = [
        ("Now", [facts(_now(live, now))] if going else []),
        ("Loss", [_curve(live)]),
        ("Stages", [_stages(live)]),
        ("Warnings", [notice(message, "warning") for message in reversed(live.warnings)]),
    ]
    return page(live.name or "run", "Tutelage, live", conclusion(live, now), sections, REFRESH if going else 0)


def _now(live: Live, now: float) -> list[tuple[str, str]]:
    left = live.seconds_left()
    done = sum(one.status in DONE for one in live.stages.values())
    pairs = [
        ("Stage", f"{live.stage} ({done + 1} of {len(live.stages)})" if live.stage else ""),
        ("Doing", f"{live.what} {live.done:,.0f} of {live.total:,.0f} {live.unit}" if live.total else live.what),
        ("Loss", f.number(live.figures["loss"], 4) if f.is_number(live.figures.get("loss")) else ""),
        ("Held out", f.number(live.curve.validations[-1][1], 4) if live.curve.validations else ""),
        ("Learning rate", f.number(live.figures.get("lr")) if "lr" in live.figures else ""),
        ("Tokens per second", f.number(live.figures.get("tokens_per_second", ""))),
        ("Time left in this stage", f.duration(left) if left is not None else ""),
        ("Pending stages", f"about {f.duration(live.seconds_ahead())}" if live.seconds_ahead() else ""),
        ("Memory", f.size(live.memory) if live.memory else ""),
    ]  # fmt: skip
    return [(name, value) for name, value in pairs if value]


def _curve(live: Live) -> Block | None:
    if len(live.curve.losses) < 2:
        return None
    lines = [
        line("loss", live.curve.losses, "quiet"),
        line("loss, smoothed", live.curve.losses, "accent", smooth=True),
        line("held out", live.curve.validations, "ink") if live.curve.validations else None,
    ]
    caption = f"{live.curve_of}: pale every logged step, line the running mean, dark held-out rows."
    return line_chart([one for one in lines if one], x="step", y="nats", title="Loss", caption=caption)


def _stages(live: Live) -> Block | None:
    rows = [
        [one.name, one.status, f.duration(one.seconds), f"{f.duration(one.forecast)}"] for one in live.stages.values()
    ]
    return table(["Stage", "Status", "Took#", "Forecast#"], rows) if rows else None
