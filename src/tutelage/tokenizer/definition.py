"""Read and change the content of a tokenizer.json."""

from __future__ import annotations

from operator import add
from typing import Any


def without_control(data: dict[str, Any], control: set[str]) -> dict[str, Any]:
    """The definition with control tokens renamed so that no text can produce them: a name enclosed in spaces.

    Marking them special is not enough: a Unigram or word model would find them in its own vocabulary.
    Ids are unchanged, because the added token and its entry in the vocabulary are renamed alike.
    """

    def renamed(token: str) -> str:
        return f" {token} " if token in control else token

    model = dict(data["model"])
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, dict):
        ids = {renamed(token): vocabulary[token] for token in control if token in vocabulary}
        model["vocab"] = {token: index for token, index in vocabulary.items() if token not in control} | ids
    elif isinstance(vocabulary, list):
        model["vocab"] = [[renamed(token), score] for token, score in vocabulary]
    if model.get("merges"):
        model["merges"] = _merges_without(model["merges"], control)
    added = [
        token | {"content": renamed(token["content"]), "special": token["special"] or token["content"] in control}
        for token in data["added_tokens"]
    ]
    return data | {"model": model, "added_tokens": added}


def _merges_without(merges: list[Any], control: set[str]) -> list[Any]:
    """Merges that neither consume nor produce a control token, checked in bulk because there may be hundreds of
    thousands. As strings if no token contains a space: libraries parse these faster than pairs."""
    pairs = [merge.split(" ", 1) for merge in merges] if isinstance(merges[0], str) else merges
    lefts, rights = zip(*pairs, strict=True)
    if control.isdisjoint(lefts) and control.isdisjoint(rights) and control.isdisjoint(map(add, lefts, rights)):
        strings = list(map(" ".join, pairs))
        return strings if " ".join(strings).count(" ") == 2 * len(strings) - 1 else merges
    return [
        merge
        for merge, left, right in zip(merges, lefts, rights, strict=True)
        if control.isdisjoint((left, right, left + right))
    ]


def unknown_token(model: dict[str, Any]) -> str:
    """The model's token for unknown text; empty if it has none."""
    if model.get("unk_id") is not None:
        return str(model["vocab"][model["unk_id"]][0])
    return model.get("unk_token") or ""


def bytes_rule(data: dict[str, Any]) -> Any:
    """How a token of this definition is turned into bytes, read off its decoder."""
    decoder = data.get("decoder") or {}
    steps = decoder.get("decoders", [decoder])
    kinds = {step.get("type") for step in steps}
    if "ByteLevel" in kinds:
        # Each character that represents a byte becomes the character of that number; others are dropped.
        number_of: dict[int, int | None] = dict.fromkeys(range(256))
        number_of |= {ord(char): byte for byte, char in byte_characters().items()}
        return lambda token: token.translate(number_of).encode("latin-1", "ignore")
    replaced = [
        (step["pattern"]["String"], step["content"])
        for step in steps
        if step.get("type") == "Replace" and "String" in step["pattern"]
    ]
    prefix = next((step["prefix"] for step in steps if step.get("type") == "WordPiece"), None)

    def rule(token: str) -> bytes:
        if "ByteFallback" in kinds and len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            return bytes([int(token[3:5], 16)])
        if prefix is not None:
            return token.removeprefix(prefix).encode()
        if "Metaspace" in kinds:
            token = token.replace("▁", " ")
        for sought, content in replaced:
            token = token.replace(sought, content)
        return token.encode()

    return rule


def byte_characters() -> dict[int, str]:
    """The character that represents each byte in byte-level vocabularies (Radford et al. 2019, GPT-2)."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in set(shown)]
    return {byte: chr(byte) for byte in shown} | {byte: chr(256 + rank) for rank, byte in enumerate(hidden)}
