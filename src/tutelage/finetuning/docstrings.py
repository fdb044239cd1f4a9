"""Instruction pairs that a corpus of documented code already holds: signature in, one-line summary out.

Pure functions over corpus rows (dicts with `id`, `name`, `signature`, `summary`); no files, no model.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from tutelage.store.hashing import sha256_text

Row = dict[str, str]

# `{call}` is the signature as it stands in the code, `{where}` the module or class it lives in. Several
# phrasings, so that the model learns the task and not the one sentence that announces it.
PHRASINGS = (
    "Write a one-line docstring for `{call}`.",
    "What does `{call}` do? Answer in one line.",
    "Describe `{call}` in one sentence.",
    "Summarize `{call}` of {where}.",
    "Document this Python code in one line:\n{call}",
    "In {where} there is `{call}`. What is it for?",
)
_NEEDS_PLACE = tuple("{where}" in phrasing for phrasing in PHRASINGS)

MIN_WORDS, MAX_WORDS, MAX_SIGNATURE = 4, 25, 160
_MARKUP = re.compile(r":\w+:`|``|`_|::|\.\. |\|\w|[<>\\{}\[\]*#=]|https?:|>>>|__")
_SENTENCE_BREAK = re.compile(r"[.!?]\s+[A-Z]")
_WORD = re.compile(r"[a-z0-9]+")
_FILLER = frozenset(
    ("a", "an", "the", "of", "for", "to", "in", "on", "and", "or", "this", "that", "is", "it", "its", "with",
     "from", "by", "as", "self", "object")
)  # fmt: skip


def response_of(summary: str) -> str:
    """The summary as it is trained: one line, literal quotes ``x`` as `x`."""
    return re.sub(r"``([^`]*)``", r"`\1`", " ".join(summary.split()))


def why_unfit(response: str, name: str, signature: str) -> str | None:
    """Reason for which a pair is left out, None when it is fit to train on."""
    words = response.split()
    if len(signature) > MAX_SIGNATURE:
        return "signature too long"
    if not MIN_WORDS <= len(words) <= MAX_WORDS:
        return f"not {MIN_WORDS} to {MAX_WORDS} words"
    if not response.isascii():
        return "not ASCII"
    if not response[0].isupper() or not response.endswith(".") or response.endswith(("..", "e.g.", "i.e.")):
        return "no capital at the start or no period at the end"
    if _SENTENCE_BREAK.search(response):
        return "more than one sentence"
    if _MARKUP.search(response) or response.count("(") != response.count(")"):
        return "markup"
    letters = sum(character.isalpha() or character == " " for character in response)
    if letters < 0.85 * len(response):
        return "mostly not letters"
    said = set(_WORD.findall(response.lower())) - _FILLER
    if said <= set(_WORD.findall(_spaced(name).lower())):
        return "repeats the name"
    return None


def prompt_of(identity: str, name: str, signature: str) -> str:
    """The request for one row, its phrasing chosen by a hash of the row's id."""
    call = " ".join(signature.split())
    where = name.rpartition(".")[0]
    allowed = [phrasing for phrasing, needed in zip(PHRASINGS, _NEEDS_PLACE, strict=True) if where or not needed]
    choice = int(sha256_text(f"phrasing:{identity}")[:8], 16) % len(allowed)
    return allowed[choice].format(call=call, where=where)


def normalised(text: str) -> str:
    """What makes two responses the same: letters and digits alone, and "Returns" is "Return"."""
    words = _WORD.findall(text.lower())
    return " ".join([word.rstrip("s") for word in words[:1]] + words[1:])


def by_hash(rows: Iterable[Row], seed: int) -> list[Row]:
    """Rows in an order that depends on the seed and each row's id alone, not on the file's order."""
    return sorted(rows, key=lambda row: sha256_text(f"{seed}:{row['id']}"))


def docstring_pairs(
    rows: Iterable[Mapping[str, Any]], seed: int, limit: int, unseen: Iterable[str] = ()
) -> tuple[list[Row], Counter[str]]:
    """At most `limit` pairs in hash order, and the count of what was left out by reason.

    A pair is {"id","prompt","response","name","signature"}. No response stands twice, and none of those in
    `unseen` stands at all: give the responses of the training pairs when making held-out ones.
    """
    removed: Counter[str] = Counter()
    seen = {normalised(response) for response in unseen}
    trained = frozenset(seen)
    documented = [
        {key: str(row[key]) for key in ("id", "name", "signature", "summary")}
        for row in rows
        if row.get("signature") and row.get("summary") and row.get("name")
    ]
    pairs: list[Row] = []
    for row in by_hash(documented, seed):
        name, signature = row["name"], row["signature"]
        response = response_of(row["summary"])
        reason = why_unfit(response, name, signature)
        key = normalised(response)
        if reason is None and key in seen:
            reason = "response stands in training" if key in trained else "response stands already"
        if reason is not None:
            removed[reason] += 1
            continue
        if len(pairs) == limit:
            removed["over the limit"] += 1
            continue
        seen.add(key)
        prompt = prompt_of(row["id"], name, signature)
        pairs.append({"id": row["id"], "prompt": prompt, "response": response, "name": name, "signature": signature})
    return pairs, removed


def _spaced(name: str) -> str:
    """`networkx.shortestPath` -> `networkx shortest Path`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[._]", " ", name)
