"""Ways to decode that are compared with each other, and the texts that a model writes by each."""

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
    from tutelage.inference.sampling import Sampling

STANDARD = ("greedy", "temperature=0.7", "temperature=1", "top_p=0.9", "top_k=40", "min_p=0.1")
_OPENING, _LEAST = 12, 16  # words of an opening; of a text that is long enough to have one
_BATCH = 25
_KEYS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


def sampling_of(named: str, max_tokens: int, seed: int) -> Sampling:
    """`greedy`, or settings joined by `+` (`top_p=0.9+temperature=0.8`); a temperature that is not given is 1.

    Raises ConfigError for what is no setting.
    """
    from tutelage.inference.sampling import Sampling

    settings: dict[str, Any] = {}
    for part in () if named == "greedy" else named.split("+"):
        key, _, value = part.partition("=")
        try:
            if key not in _KEYS:
                raise ValueError(key)
            settings[key] = int(value) if key == "top_k" else float(value)
        except ValueError:
            raise ConfigError(
                f"{named!r} is no way to decode", hint=f"greedy, or {', '.join(_KEYS)} as KEY=VALUE joined by +"
            ) from None
    if settings and set(settings) != {"repetition_penalty"}:
        settings.setdefault("temperature", 1.0)
    return Sampling(max_tokens=max_tokens, seed=seed, **settings)


def read_openings(path: Path, limit: int) -> tuple[list[str], list[str]]:
    """Prompts and the reference of each, of JSON lines.

    A row with `prompt` (and `reference`, `response` or `answer`) is taken as it is; of one with `text` the first twelve
    words are the prompt and the rest the reference. Raises InputError where there are fewer than two.
    """
    prompts, references = [], []
    for row in read_rows(path):
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
            f"{path} holds no prompts", hint="JSON lines with `prompt`, or with `text` of 16 words or more"
        )
    return prompts, references


def write_texts(
    lm: LanguageModel, named: str, prompts: Sequence[str], sampling: Sampling, chat: bool, log: EventLog
) -> list[str]:
    """What the model writes after each prompt, in chat or as plain text."""
    texts: list[str] = []
    for part in batches(log, named, prompts, _BATCH, "texts"):
        if chat:
            made = lm.chat_batch([[{"role": "user", "content": one}] for one in part], sampling)
        else:
            made = lm.generate(list(part), sampling)
        texts += [one.text.strip() for one in made]
    return texts


def cut_alike(texts: Sequence[str], references: Sequence[str]) -> list[str]:
    """References cut to about the length of what was written, so that length is not what tells them apart."""
    length = max(1, round(sum(len(text) for text in texts) / max(1, len(texts))))
    return [reference[:length] for reference in references]
