"""Messages while a corpus is made: what was read and how, and which rules removed much of it."""

from __future__ import annotations

from collections import defaultdict

from tutelage.corpus.boundaries import BOUNDARIES
from tutelage.corpus.card import Step, shorten
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.rows import Reading
from tutelage.store.events import EventLog

LARGE_SHARE = 0.05  # of the text, that one rule takes: worth a line
LARGE_COUNT, FEWEST = 0.1, 5  # of the documents, as a share and as a number
_TOLD = ("over the limit", "source code")  # where it happens
_CHOSEN = "selection"  # under a budget that the user set; told where it happens
_EXAMPLE = 80  # characters
_SHOWN = 5

# What of which reason turns off; a reason that is not here has no setting.
_KEYS = {
    "too short": "corpus.min_words",
    "near duplicate": "corpus.near_duplicate_threshold",
    "only shared paragraphs": "corpus.drop_banners",
    "stands in training text": "corpus.max_overlap",
}

_STEP_KEYS = {
    "languages": "corpus.languages chooses others",
    "rules": "corpus.rules without its set keeps them",
    "blocklist": "corpus.blocklist names the words",
    "personal data": "corpus.pii=keep keeps it",
    "shared paragraphs": "corpus.drop_banners=false keeps them",
    "duplicate paragraphs": "corpus.duplicate_pieces=keep keeps them",
    "duplicate lines": "corpus.duplicate_pieces=keep keeps them",
}


def tell_reading(reading: Reading, config: CorpusConfig, log: EventLog) -> None:
    """Log what was not read, what was not plain UTF-8, and how documents were separated."""
    for place in reading.malformed[:10]:
        where = f"{place.file}:{place.line}" if place.line else place.file
        log.warn(f"skipped {where}: {place.why}")
    if reading.unread > 10:
        listed = "them" if reading.unread == len(reading.malformed) else f"the first {len(reading.malformed):,}"
        log.warn(f"skipped {reading.unread:,} places in all; the data card lists {listed}")
    if reading.decoded:
        shown = "; ".join(f"{file} {remark}" for file, remark in reading.decoded[:_SHOWN])
        more = f"; and {len(reading.decoded) - _SHOWN:,} more" if len(reading.decoded) > _SHOWN else ""
        log.note(f"not plain UTF-8: {shown}{more}")
    for said in boundaries_said(reading.boundaries, config):
        log.note(said)
    if reading.skipped:
        log.note("skipped " + ", ".join(f"{count:,} {what}" for what, count in reading.skipped.items()))
    if reading.ignored:
        named = ", ".join(f"{key} ({count:,})" for key, count in sorted(reading.ignored.items())[:20])
        log.note(f"fields of rows that are not used: {named}")


def boundaries_said(boundaries: list[tuple[str, str, int, int]], config: CorpusConfig) -> list[str]:
    """One line per boundary used for text files: files, documents, pieces, and the settings."""
    by: dict[str, list[tuple[str, int, int]]] = defaultdict(list)
    for file, boundary, documents, pieces in boundaries:
        by[boundary].append((file, documents, pieces))
    lines = []
    for boundary in BOUNDARIES:
        if not (found := by.get(boundary)):
            continue
        documents, pieces = sum(one[1] for one in found), sum(one[2] for one in found)
        files = found[0][0] if len(found) == 1 else f"{len(found):,} text files"
        said = (
            f"{files}: {BOUNDARIES[boundary]} ({'guessed; ' if config.boundary == 'auto' else ''}{documents:,} in total"
        )
        if pieces > documents:
            said += (
                f", split into {pieces:,} pieces of about {config.max_characters:,} characters; corpus.max_characters"
            )
            said += " sets it"
        others = ", ".join(name for name in BOUNDARIES if name != boundary)
        lines.append(f"{said}). corpus.boundary chooses another: {others}")
    return lines


def tell_losses(steps: list[Step], config: CorpusConfig, log: EventLog) -> None:
    """A warning for each rule that removed a large share of the text or documents, with the key that turns it off.

    None for `python`: its docstrings are full of other than prose, as expected in the quickstart.
    """
    if config.source == "python":
        return
    for step in steps:
        if step.name == _CHOSEN:
            continue
        said = set()
        for rule, record in sorted(step.pieces.items(), key=lambda pair: -pair[1]["bytes"]):
            share = record["bytes"] / max(1, step.bytes_in)
            if share >= LARGE_SHARE:
                said.add(rule)
                example = _short(record["examples"][0] if record["examples"] else "")
                log.warn(
                    f"the rule {rule!r} ({record['what']}) removed {share:.0%} of the text, for example {example!r}; "
                    f"{_key_of(step, rule)}"
                )
        for reason, count in step.removed.items():
            share = count / max(1, step.documents_in)
            if share >= LARGE_COUNT and count >= FEWEST and reason not in (*said, *_TOLD):
                example = next((one["text"] for one in step.examples if one["reason"] == reason), "")
                key = f"{_KEYS[reason]} sets the limit" if reason in _KEYS else _STEP_KEYS.get(step.name, "")
                key = _key_of(step, reason) if reason in step.pieces else key
                log.warn(
                    f"{count:,} of {step.documents_in:,} documents ({share:.0%}) were removed as {reason!r}, for "
                    f"example {_short(example)!r}{'; ' if key else ''}{key}"
                )


def _short(example: str) -> str:
    return shorten(" ".join(example.split()), _EXAMPLE)


def _key_of(step: Step, rule: str) -> str:
    if step.name == "prose":
        return f"corpus.skip_rules=[{rule}] keeps such text, corpus.prose=false keeps all text as it is"
    return _STEP_KEYS[step.name]
