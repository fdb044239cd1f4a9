"""Judges: an OpenAI-style endpoint, a local model, or a rule."""

from __future__ import annotations

import json
import math
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tutelage.evaluation.judging.prompts import LETTERS, VERSION, Question, ask, read_rating, read_verdict
from tutelage.store.errors import ConfigError, InputError, nearest

if TYPE_CHECKING:
    from tutelage.inference.language_model import LanguageModel

KEY = "TUTELAGE_JUDGE_KEY"
_TRIES = 4
MODEL_CAUTIONS = (
    "A verdict is the judge's preference, not ground truth: it cannot check what it does not know.",
    "Model judges are biased by length (the longer answer won 68 % of 2,999 public GPT-4 verdicts), by position "
    "(13 % of verdicts flipped when swapped), and towards their own answers (87 % of 94).",
)
RULE_CAUTIONS = ("A rule only sees what it counts, and answers can be optimised for it.",)
SMALL_CAUTION = (
    "Models of a few hundred million parameters are rarely reliable judges: check position flips and human votes first."
)
_AGAIN = (408, 409, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Reply:
    """value: 1, 0.5 or 0 for the first answer of a pair, 1 to 10 for a single answer, None for an unreadable reply."""

    value: float | None
    text: str


class Judge(Protocol):
    """name: of the model, for display. identity: cache key of its verdicts (model, prompt version). parallel:
    concurrent requests. cautions: its known biases, printed with its results."""

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> str: ...

    @property
    def parallel(self) -> int: ...

    @property
    def cautions(self) -> tuple[str, ...]: ...

    def judge(self, question: Question) -> Reply: ...


@dataclass(frozen=True)
class RuleJudge:
    """A deterministic rule: `score(answer, question)`; the higher score wins."""

    name: str
    score: Callable[[str, Question], float]
    parallel: int = 1
    cautions: tuple[str, ...] = RULE_CAUTIONS

    @property
    def identity(self) -> str:
        return f"{self.name} v{VERSION}"

    def judge(self, question: Question) -> Reply:
        first = self.score(question.first, question)
        if question.second is None:
            return Reply(min(10.0, max(1.0, first)), "")
        second = self.score(question.second, question)
        return Reply(1.0 if first > second else 0.0 if first < second else 0.5, "")


def _chrf(answer: str, question: Question) -> float:
    from tutelage.evaluation.metrics import chrf

    if question.reference is None:
        raise InputError("rule:chrf requires a `reference` in every row")
    return chrf([answer], [question.reference])[0] / (1 if question.second is not None else 10)


RULES: dict[str, Callable[[str, Question], float]] = {
    "chrf": _chrf,
    "longer": lambda answer, question: len(answer),
    "first": lambda answer, question: float(answer is question.first),
}


@dataclass(frozen=True)
class EndpointJudge:
    """Any server with OpenAI's chat completions API; queried at temperature 0, with reasoning before the verdict.

    An API key is read from TUTELAGE_JUDGE_KEY. Failed requests are retried with increasing pauses.
    """

    url: str
    model: str
    parallel: int = 4
    timeout: float = 120.0
    max_tokens: int = 512
    pause: float = 1.0
    cautions: tuple[str, ...] = MODEL_CAUTIONS

    @property
    def name(self) -> str:
        return self.model

    @property
    def identity(self) -> str:
        return f"{self.model} at {self.url} v{VERSION}"

    def judge(self, question: Question) -> Reply:
        body = {
            "model": self.model, "temperature": 0, "max_tokens": self.max_tokens,
            "messages": [{"role": "user", "content": ask(question, reasoned=True)}],
        }  # fmt: skip
        answer = self._post(f"{self.url.rstrip('/')}/chat/completions", body)
        try:
            text = str(answer["choices"][0]["message"]["content"] or "")
        except (KeyError, IndexError, TypeError):
            raise InputError(f"{self.url} returned no chat completion: {str(answer)[:200]}") from None
        return Reply(read_verdict(text) if question.second is not None else read_rating(text), text)

    def _post(self, url: str, body: dict[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        why = ""
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(self.pause * 2 ** (attempt - 1))
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as response:
                    return json.loads(response.read())
            except urllib.error.HTTPError as error:
                why = f"HTTP {error.code}: {error.read(300).decode(errors='replace').strip()}"
                if error.code not in _AGAIN:
                    break
            except (OSError, ValueError) as error:
                why = str(getattr(error, "reason", None) or error)
        raise InputError(f"the judge at {self.url} did not answer: {why}")


class LocalJudge:
    """A local model. It gives no reasoning: the likeliest verdict after the question decides, so every reply is
    readable; a rating is the mean of 1 to 10 weighted by likelihood (Liu et al. 2023, G-Eval)."""

    parallel = 1
    cautions = (*MODEL_CAUTIONS, SMALL_CAUTION)

    def __init__(self, lm: LanguageModel, name: str) -> None:
        self.name, self._lm = name, lm

    @property
    def identity(self) -> str:
        return f"{self.name} by likelihood v{VERSION}"

    def judge(self, question: Question) -> Reply:
        try:
            return self._judge(question)
        except InputError as error:  # longer than the model's context: not truncated, counted as unreadable
            return Reply(None, error.message)

    def _judge(self, question: Question) -> Reply:
        text = ask(question, reasoned=False)
        if question.second is not None:
            likely = self._likelihoods(text, LETTERS)
            best = max(range(3), key=likely.__getitem__)
            return Reply((1.0, 0.0, 0.5)[best], LETTERS[best])
        ratings = [str(one) for one in range(1, 11)]
        likely = self._likelihoods(text, ratings)
        share = [math.exp(one - max(likely)) for one in likely]
        return Reply(sum((at + 1) * one for at, one in enumerate(share)) / sum(share), "")

    def _likelihoods(self, text: str, replies: Sequence[str]) -> list[float]:
        if self._lm.tokenizer.chat_template is None:
            return [one.logprob for one in self._lm.score([(text + "\n\nReply:", f" {reply}") for reply in replies])]
        asked = [[{"role": "user", "content": text}, {"role": "assistant", "content": reply}] for reply in replies]
        return [logprob for logprob, _ in self._lm.score_chat(asked)]


def find_judge(named: str, model: str | None, load: Callable[[str], LanguageModel], parallel: int = 4) -> Judge:
    """`rule:NAME`, an http(s) URL (`model` is then the model's name there), or a model that `load` accepts."""
    if named.startswith("rule:"):
        rule = named.removeprefix("rule:")
        if rule not in RULES:
            raise ConfigError(f"unknown rule {rule!r}", hint=nearest(rule, RULES))
        return RuleJudge(named, RULES[rule])
    if named.startswith(("http://", "https://")):
        if not model:
            raise ConfigError("an endpoint requires a model name", hint="--judge-model NAME")
        return EndpointJudge(named, model, parallel)
    return LocalJudge(load(named), named)
