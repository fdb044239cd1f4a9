"""Who judges: an OpenAI-style endpoint, a model on this machine, or a rule."""

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
    "A verdict is the judge's taste, not truth: it cannot check what it does not know.",
    "Model judges like length (of 2,999 public GPT-4 verdicts the longer answer won 68 %), the place an answer is "
    "shown in (13 % of verdicts flipped when swapped), and their own answers (87 % of 94).",
)
RULE_CAUTIONS = ("A rule sees what it counts and nothing else; an answer can be made to please it.",)
SMALL_CAUTION = (
    "Models of a few hundred million parameters are seldom fit to judge: look at the flips and the votes first."
)
_AGAIN = (408, 409, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Reply:
    """value: 1, 0.5 or 0 for the first answer of a pair, 1 to 10 for a single one, None: the reply was unreadable."""

    value: float | None
    text: str


class Judge(Protocol):
    """name: of the model, shown. identity: what makes its verdicts its own (model, wording). parallel: at once.
    cautions: its known biases, printed beside whatever it finds."""

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
    """A stated rule: free, exact, and blind to all else. `score` of (answer, question); the higher one wins."""

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
        raise InputError("rule:chrf needs a `reference` in every row")
    return chrf([answer], [question.reference])[0] / (1 if question.second is not None else 10)


RULES: dict[str, Callable[[str, Question], float]] = {
    "chrf": _chrf,
    "longer": lambda answer, question: len(answer),
    "first": lambda answer, question: float(answer is question.first),
}


@dataclass(frozen=True)
class EndpointJudge:
    """Any server that speaks OpenAI's chat completions; asked at temperature 0, with reasons before the verdict.

    The key, if it needs one, is in TUTELAGE_JUDGE_KEY. A failing request is tried again, with growing pauses.
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
            raise InputError(f"{self.url} gave no chat completion: {str(answer)[:200]}") from None
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
        raise InputError(f"the judge at {self.url} does not answer: {why}")


class LocalJudge:
    """A model on this machine. It gives no reasons: the likelihood of each verdict after the question decides, so that
    every reply is readable; a rating is the mean of 1 to 10 by their likelihoods (Liu et al. 2023, G-Eval)."""

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
        except InputError as error:  # longer than the model's context: nothing is cut, and it counts for nobody
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
    """`rule:NAME`, an http(s) address (`model` then names the model there), or a model that `load` can load."""
    if named.startswith("rule:"):
        rule = named.removeprefix("rule:")
        if rule not in RULES:
            raise ConfigError(f"there is no rule {rule!r}", hint=nearest(rule, RULES))
        return RuleJudge(named, RULES[rule])
    if named.startswith(("http://", "https://")):
        if not model:
            raise ConfigError("an endpoint needs the name of the model there", hint="--judge-model NAME")
        return EndpointJudge(named, model, parallel)
    return LocalJudge(load(named), named)
