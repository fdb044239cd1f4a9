"""Training and held-out rows: by hash, each label on both sides, nothing that reads alike on both."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tutelage.finetuning.data.audit import counted, listed
from tutelage.finetuning.data.rows import Row
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.hashing import by_hash, sha256_text

NEAR = 0.7  # Jaccard similarity of word sequences from which on two questions are nearly the same
FEW_HELD_OUT = 30  # below this an accuracy is imprecise: its 95 % interval is wider than 30 points


@dataclass(frozen=True)
class Split:
    """Training and held-out rows, both in hash order, and notes about the split."""

    train: list[Row]
    heldout: list[Row]
    notes: tuple[str, ...] = ()

    def tell(self, log: EventLog) -> None:
        for note in self.notes:
            log.note(note)


@dataclass(frozen=True)
class DroppedLabel:
    """A label that is not trained: why, and how many rows it had in both splits."""

    reason: str
    count: int


@dataclass(frozen=True)
class Labels:
    """Labels that are trained, sorted, and those that are not; `capped`: training rows over `max_per_label`."""

    kept: tuple[str, ...]
    dropped: dict[str, DroppedLabel]
    capped: dict[str, int]

    @property
    def why_not(self) -> str | None:
        """Why no classifier can be trained on them, in one sentence; None if one can."""
        if len(self.kept) >= 2:
            return None
        found = f"only {self.kept[0]!r} has enough rows" if self.kept else "no label has enough rows"
        return found + (f"; {self._named()}" if self.dropped else "")

    def plain(self) -> dict[str, Any]:
        dropped = {name: {"reason": item.reason, "count": item.count} for name, item in self.dropped.items()}
        return {"kept": list(self.kept), "dropped": dropped, "capped": dict(self.capped)}

    def tell(self, log: EventLog) -> None:
        """Name every dropped label, and say how many rows the cap leaves unused."""
        if self.dropped:
            rows = sum(item.count for item in self.dropped.values())
            log.warn(f"not trained: {counted(len(self.dropped), 'label')} with {counted(rows, 'row')}: {self._named()}")
        if self.capped:
            over = listed([f"{name!r} {count}" for name, count in self.capped.items()], 30)
            log.note(f"{sum(self.capped.values())} training rows over the limit of a label are not used: {over}")

    def _named(self) -> str:
        return "; ".join(f"{name!r} ({item.reason})" for name, item in self.dropped.items())


def stratified_split(
    rows: Sequence[Row], data_seed: int, share: float = 0.1, key: Callable[[Row], str] | None = None, near: bool = False
) -> Split:
    """Hold out `share` of each label's different texts, at least one where it has two; unlabelled rows are one group.

    What counts as the same is `key` (default `context_key`): rows alike stand on one side, whatever their labels. A
    conversation stands with those that go on from it. near: so do rows whose questions are nearly the same. Rows that
    are marked ("split": "heldout") are held out, and then no others are. The order of `rows` does not matter. Raises
    InputError where there are not two different rows.
    """
    if any("split" in row for row in rows):
        return _as_marked(rows, data_seed, key or context_key)
    groups = _groups(rows, key or context_key)
    alike = len(rows) - len(groups)
    said: list[str] = []
    if near:
        groups, said = _near_together(groups)
    if len(groups) < 2:
        what = "one row" if len(rows) < 2 else f"{len(rows)} rows that all ask the same"
        raise InputError(f"{what} cannot be split into training and held-out data", hint="give more rows")
    strata: dict[str, list[str]] = defaultdict(list)
    for name, members in groups.items():
        labels = Counter(str(row.get("label", "")) for row in members)
        strata[min(labels, key=lambda label: (-labels[label], label))].append(name)
    order = {name: sha256_text(f"{data_seed}:{name}") for name in groups}
    held: set[str] = set()
    for names in strata.values():
        if len(names) > 1:
            wanted = min(len(names) - 1, max(1, int(len(names) * share + 0.5)))
            held.update(sorted(names, key=order.__getitem__)[:wanted])
    if not held:
        raise InputError("no label has two different texts, so that none can be held out", hint="give more rows")
    place = {id(row): order[name] for name, members in groups.items() for row in members}
    ordered = sorted(rows, key=lambda row: (place[id(row)], str(row["id"])))
    of_held = {order[name] for name in held}
    train = [row for row in ordered if place[id(row)] not in of_held]
    heldout = [row for row in ordered if place[id(row)] in of_held]
    return Split(train, heldout, (*_notes(rows, train, heldout, alike, share), *said))


def _as_marked(rows: Sequence[Row], data_seed: int, key: Callable[[Row], str]) -> Split:
    """The split that the rows came with."""
    sides: tuple[list[Row], list[Row]] = [], []
    for row in by_hash(rows, data_seed):
        sides["split" in row].append({key: value for key, value in row.items() if key != "split"})
    if not sides[0]:
        raise InputError("every row is marked as held out", hint="give rows to train on")
    labels = [f"{len(sides[0])} rows to train on, {len(sides[1])} held out, as they came"]
    if len(sides[1]) < FEW_HELD_OUT:
        labels.append(f"only {len(sides[1])} rows are held out: figures measured on them are rough")
    known = {key(row) for row in sides[0]}
    if alike := sum(key(row) in known for row in sides[1]):
        labels.append(f"{alike} held-out rows ask the same as a training row, as they came: they flatter the figures")
    return Split(*sides, tuple(labels))


def split(rows: list[Row], seed: int, share: float = 0.1) -> tuple[list[Row], list[Row]]:
    """(train, held-out) of `stratified_split`."""
    parts = stratified_split(rows, seed, share)
    return parts.train, parts.heldout


def choose_labels(
    train: Iterable[Row],
    heldout: Iterable[Row],
    min_per_label: int = 1,
    max_per_label: int | None = None,
    min_heldout: int = 1,
) -> Labels:
    """Labels with enough rows in both splits; every other one with the reason. See `Labels.why_not` for too few."""
    trained = Counter(row["label"] for row in train)
    held = Counter(row["label"] for row in heldout)
    kept: list[str] = []
    dropped: dict[str, DroppedLabel] = {}
    for label in sorted({*trained, *held}):
        if trained[label] >= min_per_label and held[label] >= min_heldout:
            kept.append(label)
            continue
        has = f"{trained[label]} training and {held[label]} held-out rows"
        dropped[label] = DroppedLabel(f"{has}, {min_per_label} and {min_heldout} needed", trained[label] + held[label])
    capped = {
        label: trained[label] - max_per_label for label in kept if max_per_label and trained[label] > max_per_label
    }
    return Labels(tuple(kept), dropped, capped)


def normalised(text: str) -> str:
    """What makes two texts the same: neither case nor white space counts."""
    return " ".join(text.casefold().split())


def context_key(row: Mapping[str, Any]) -> str:
    """What a row asks: all turns before its last answer, or its text."""
    if "messages" in row:
        turns = row["messages"]
        asked = turns[:-1] if "response" in row or (turns and turns[-1]["role"] == "assistant") else turns
        return _turns_key(asked)
    if "prompt" in row:
        return _turns_key([{"role": "user", "content": row["prompt"]}])
    return normalised(str(row.get("text", "")))


def _turns_key(turns: Sequence[Mapping[str, Any]]) -> str:
    return "\0".join(f"{turn['role']}:{normalised(turn['content'])}" for turn in turns)


def _groups(rows: Sequence[Row], key: Callable[[Row], str]) -> dict[str, list[Row]]:
    """Rows grouped by prompt. A conversation joins the group of the one that it continues verbatim."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    keys = [key(row) for row in rows]
    parent.update({name: name for name in keys})
    if key is context_key:
        whole = {_turns_key(row["messages"]): name for row, name in zip(rows, keys, strict=True) if "response" in row
                 and "messages" in row}  # fmt: skip
        for row, name in zip(rows, keys, strict=True):
            turns = row.get("messages", ())
            for end in range(2, len(turns)):
                if turns[end - 1]["role"] == "assistant" and (earlier := whole.get(_turns_key(turns[:end]))):
                    one, other = sorted((root(earlier), root(name)))
                    parent[other] = one
    groups: dict[str, list[Row]] = defaultdict(list)
    for row, name in zip(rows, keys, strict=True):
        groups[root(name)].append(row)
    return groups


def _near_together(groups: Mapping[str, list[Row]]) -> tuple[dict[str, list[Row]], list[str]]:
    """Groups whose questions share `NEAR` of their word sequences as one group, and what is to be said of it.

    Where more than half of the rows would be one group (a long text that all questions stand under), they stay apart.
    """
    from tutelage.corpus.dedup import linked_clusters

    names = sorted(groups)
    kept_for = linked_clusters([asked(groups[name][0]) for name in names], NEAR).tolist()
    joined: dict[str, list[Row]] = defaultdict(list)
    for place, name in enumerate(names):
        joined[names[kept_for[place]]] += groups[name]
    if len(joined) == len(groups):
        return dict(groups), []
    if max(map(len, joined.values())) > sum(map(len, groups.values())) / 2:
        said = "most questions share a long text, so that held-out questions resemble those trained on"
        return dict(groups), [said]
    said = f"{len(groups) - len(joined)} of {len(groups)} different questions are nearly the same as another"
    return dict(joined), [f"{said} and stand on its side"]


def asked(row: Mapping[str, Any]) -> str:
    """What the user says in a row before the last answer."""
    turns = row.get("messages") or [{"role": "user", "content": row.get("prompt", "")}]
    return "\n".join(str(turn["content"]) for turn in turns if turn["role"] == "user")


def _notes(rows: Sequence[Row], train: list[Row], heldout: list[Row], alike: int, share: float) -> list[str]:
    labels = len({row["label"] for row in rows if "label" in row})
    of_each = f", {share:.0%} of each of {labels} labels and at least one" if labels else ""
    notes = [f"{len(train)} rows to train on, {len(heldout)} held out{of_each}"]
    if alike:
        notes.append(f"{alike} rows ask the same as another, or go on from it, and stand on the same side")
    if len(heldout) < FEW_HELD_OUT:
        notes.append(f"only {len(heldout)} rows are held out: figures measured on them are rough")
    return notes
