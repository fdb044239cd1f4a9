"""Decoding strategies to compare, and the texts that a model generates with each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.store.errors import ConfigError, InputError
from tutelage.store.events import EventLog
from tutelage.store.jsonl import read_rows
from tutelage.store.progress import batches

if TYPE_CHECKING:
    from tutelage.inference.language_model import LanguageModel
    from tutelage.inference.results import Generation
    from tutelage.inference.sampling import Sampling
    from tutelage.inference.search import Beam, Contrastive

STANDARD = ("greedy", "temperature=0.7", "temperature=1", "top_p=0.9", "top_k=40", "min_p=0.1")
_OPENING, _LEAST = 12, 16  # words of an opening; minimum words of a text
_BATCH = 25
_GREEDY_TOO = ("repetition_penalty", "presence_penalty", "frequency_penalty", "no_repeat_ngram", "dry_multiplier",
               "dry_base", "dry_allowed_length")  # fmt: skip
_NOT_OF_A_WAY = ("max_tokens", "min_tokens", "seed", "top_logprobs")


def way_of(named: str, max_tokens: int, seed: int) -> Sampling | Beam | Contrastive:
    """`greedy`, settings of `Sampling` joined by `+` (`top_p=0.9+temperature=0.8`; default temperature 1),
    `beam=WIDTH`, or `contrastive=ALPHA` (both alone; contrastive search over the 4 likeliest tokens).

    Raises ConfigError for an unknown strategy.
    """
    from tutelage.inference.search import Beam, Contrastive

    settings = _settings(named)
    if "beam" in settings and len(settings) == 1:
        return Beam(settings["beam"], max_tokens)
    if "contrastive" in settings and len(settings) == 1:
        return Contrastive(alpha=settings["contrastive"], max_tokens=max_tokens)
    return sampling_of(named, max_tokens, seed)


def sampling_of(named: str, max_tokens: int, seed: int) -> Sampling:
    """`way_of` for sampling only; beam and contrastive search are errors."""
    from tutelage.inference.sampling import Sampling

    settings = _settings(named)
    if settings.keys() & {"beam", "contrastive"}:
        raise ConfigError(
            f"{named!r} is not a sampling strategy", hint="beam and contrastive are searches and cannot be combined"
        )
    if settings.keys() - set(_GREEDY_TOO):
        settings.setdefault("temperature", 1.0)
    return Sampling(max_tokens=max_tokens, seed=seed, **settings)


def _settings(named: str) -> dict[str, Any]:
    from tutelage.inference.sampling import numbers

    kinds: dict[str, type] = {name: kind for name, kind in numbers().items() if name not in _NOT_OF_A_WAY}
    hint = f"greedy, beam=WIDTH, contrastive=ALPHA, or {', '.join(kinds)} as KEY=VALUE joined by +"
    kinds |= {"beam": int, "contrastive": float}
    settings: dict[str, Any] = {}
    for part in () if named == "greedy" else named.split("+"):
        key, _, value = part.partition("=")
        try:
            settings[key] = kinds[key](value)
        except (KeyError, ValueError):
            raise ConfigError(f"unknown decoding strategy {named!r}", hint=hint) from None
    return settings


def written(lm: LanguageModel, prompt: str, way: Sampling | Beam | Contrastive, n: int) -> list[Generation]:
    """Continuations of one prompt: `n` samples, or the single result of greedy decoding or a search."""
    from tutelage.inference.sampling import Sampling

    if isinstance(way, Sampling):
        return lm.generate([prompt] * (n if way.temperature else 1), way)
    return lm.search([prompt], way)[0][:1]


def read_openings(path: Path, limit: int) -> tuple[list[str], list[str]]:
    """Prompts and their references from JSON lines.

    A row with `prompt` (and `reference`, `response` or `answer`) is used as is; for one with `text`, the first twelve
    words are the prompt and the rest is the reference. Raises InputError for fewer than two.
    """
    prompts, references = [], []
    for row in read_rows(path, "give JSON lines with `prompt`, or with `text`"):
        if isinstance(row.get("prompt"), str):
            prompts.append(str(row["prompt"]))
            references.append(next((str(row[key]) for key in ("reference", "response", "answer") if row.get(key)), ""))
        elif isinstance(row.get("text"), str) and len(row["text"].split()) >= _LEAST:
            parts = row["text"].split(" ")
            prompts.append(" ".join(parts[:_OPENING]))
            references.append(" ".join(parts[_OPENING:]))
        if len(prompts) == limit:
            break
    if len(prompts) < 2:
        raise InputError(
            f"{path} contains no prompts", hint="give JSON lines with `prompt`, or with `text` of 16 words or more"
        )
    return prompts, references


def write_texts(
    lm: LanguageModel, named: str, prompts: Sequence[str], way: Sampling | Beam | Contrastive, chat: bool, log: EventLog
) -> list[str]:
    """The model's continuation of each prompt, in chat format or as plain text."""
    from tutelage.inference.sampling import Sampling

    texts: list[str] = []
    for part in batches(log, named, prompts, _BATCH, "texts"):
        asked = [lm.chat_ids([{"role": "user", "content": one}]) if chat else lm.prompt_ids(one) for one in part]
        if isinstance(way, Sampling):
            made = lm.generate(asked, way)
        else:
            made = [found[0] for found in lm.search(asked, way)]
        texts += [one.text.strip() for one in made]
    return texts


def cut_alike(texts: Sequence[str], references: Sequence[str]) -> list[str]:
    """References truncated to about the length of the generated texts, so that length does not separate them."""
    length = max(1, round(sum(len(text) for text in texts) / max(1, len(texts))))
    return [reference[:length] for reference in references]
