"""What the data card says of the selection, as Markdown."""

from __future__ import annotations

from typing import Any

from tutelage.corpus.selection.area import Area
from tutelage.corpus.selection.quality import differing
from tutelage.store import format as f


def markdown_of_measures(card: dict[str, Any]) -> str:
    """The sections of a card on how documents were selected by measure and how varied the training text is."""
    said = selection_markdown(card["select"]) if "select" in card else ""
    if "variety" not in card:
        return said
    lines = [
        "",
        "## Variety of the training text, in blocks of one size",
        "",
        "| measure | mean of the blocks |",
        "|---|---:|",
    ]
    lines += [f"| {name} | {value} |" for name, value in intervals(card["variety"])]
    return said + "\n".join(lines) + "\n"


def selection_markdown(account: dict[str, Any]) -> str:
    """The account of `select_documents` as a section of the card."""
    lines = ["", "## Selection", ""]
    lines += [f"- {line}" for line in sentences(account)]
    rows = account["trade_off"]
    names = [key for key in rows[0] if key != "by"]
    lines += ["", f"| chosen by | {' | '.join(name.replace('_', ' ') for name in names)} |"]
    lines += ["|---|" + "---:|" * len(names)]
    lines += [f"| {row['by']} | {' | '.join(f.number(row[name]) for name in names)} |" for row in rows]
    lines += ["", "| variety, in blocks of one size | before | after |", "|---|---:|---:|"]
    lines += [f"| {name} | {before} | {after} |" for name, before, after in variety_rows(account["variety"])]
    return "\n".join(lines) + "\n"


def sentences(account: dict[str, Any]) -> list[str]:
    """How the documents were judged, in sentences."""
    said = []
    quality, relevance = account.get("quality"), account.get("relevance")
    if quality and quality["by"] == "examples":
        auc, by_length = quality["auc"], quality["auc_by_length"]
        said.append(
            f"quality: {quality['good']:,} good examples against {quality['rest']:,} documents; AUC {auc['value']:.3f} "
            f"[{auc['low']:.3f}, {auc['high']:.3f}] on rows not seen (by length alone {by_length['value']:.3f}); "
            f"calibration error {quality['calibration_error']:.3f}. {differing(Area(**auc))}"
        )
        passing = ", ".join(f"{float(rest):.0%} of the rest: {good:.0%}" for rest, good in quality["roc"].items())
        said.append(f"share of the good examples that passes with {passing}")
    elif quality:
        said.append(f"quality by {quality['by']}")
    if relevance:
        said.append(
            f"relevance to {relevance['target']:,} target texts{_told(relevance.get('auc'))}; rank correlation with "
            f"the length of a text {relevance['correlation_with_length']:+.2f}"
        )
    weights = ", ".join(f"{name} {weight:g}" for name, weight in account["weights"].items())
    said.append(f"weights: {weights}; {account['bytes']:,} of {account['budget_bytes']:,} bytes of the budget used")
    return said


def _told(auc: dict[str, float] | None) -> str:
    if not auc:
        return ""
    share = f"{auc['value']:.3f} [{auc['low']:.3f}, {auc['high']:.3f}]"
    return f", of which one not seen outranks a document of the corpus in a share of {share} of pairs (0.5 is chance)"


def variety_rows(variety: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(measure, before, after), each with its interval."""
    before, after = intervals(variety["before"]), intervals(variety["after"])
    return [(name, one, other) for (name, one), (_, other) in zip(before, after, strict=True)]


def intervals(measures: dict[str, Any]) -> list[tuple[str, str]]:
    """(measure, value with its interval) of what `variety` found."""
    return [(name.replace("_", " "), _interval(one)) for name, one in measures.items() if isinstance(one, dict)]


def _interval(one: dict[str, Any]) -> str:
    if one["value"] is None:
        return "too little text"
    bounds = "" if one["low"] is None else f" [{one['low']:.3f}, {one['high']:.3f}]"
    return f"{one['value']:.3f}{bounds}"
