"""A model behind an OpenAI-style completions endpoint, with likelihoods if it returns prompt log-probabilities."""

from __future__ import annotations

import json
import math
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from tutelage.evaluation.bench.protocol import Ask, Likelihood, Pair, Roll, Written
from tutelage.store.errors import ConfigError, InputError, TutelageError
from tutelage.store.hashing import sha256_json

TRIES = 4  # attempts per request on network and server errors
PATIENCE = 300.0  # seconds for an answer
AT_ONCE = 8  # concurrent requests
_PROBE = "The capital of France is Paris, and the capital of Italy is"
T = TypeVar("T")
R = TypeVar("R")


class EndpointGone(TutelageError):
    """The endpoint has stopped answering; earlier answers are kept."""


class EndpointModel:
    """`url` up to /v1, and the model's name there (default: the first one served).

    prefix: text inserted before a text without context, such as "<|endoftext|>"; without it the first token of such a
    text has no probability, and tasks without a context cannot be measured.
    """

    context: int | None = None
    precision = "the endpoint's"
    piece = 40_000

    def __init__(self, url: str, model: str = "", prefix: str = "", key: str | None = None, pause: float = 1.0) -> None:
        self.url, self.pause = url.rstrip("/"), pause
        self.key = key or os.environ.get("OPENAI_API_KEY", "")
        served = [str(one.get("id")) for one in self._call("models", None).get("data", [])]
        if model and served and model not in served:
            raise ConfigError(f"{self.url} serves no model {model!r}", hint=f"it serves: {', '.join(served)}")
        self.model = model or (served[0] if served else "")
        self.name, self.prefix = f"{self.model} at {self.url}", prefix
        self.empty_context = bool(prefix)
        self.likelihoods, probe = self._probed()
        self.tokenizer = sha256_json([self.url, self.model])
        # The weights are not visible, so the response to a fixed text identifies them; the cache then never returns
        # another model's answers.
        self.identity = sha256_json([self.url, self.model, probe])

    def encode(self, text: str) -> list[int]:
        raise ConfigError("an endpoint does not show its tokens")

    def decode(self, ids: Sequence[int]) -> str:
        raise ConfigError("an endpoint does not show its tokens")

    def score(self, pairs: Sequence[Pair]) -> list[Likelihood]:
        return self._each(self._pair, pairs)

    def rolling(self, texts: Sequence[Roll]) -> list[Likelihood]:
        return self._each(lambda one: self._pair(Pair("", one.text)), texts)

    def generate(self, prompts: Sequence[Ask]) -> list[Written]:
        return self._each(self._written, prompts)

    def _pair(self, pair: Pair) -> Likelihood:
        context, continuation = pair.context, pair.continuation
        kept = context.rstrip()
        continuation = context[len(kept) :] + continuation
        kept = kept or self.prefix
        if not kept:
            raise InputError(
                "the endpoint returns no probability for the first token of a text",
                hint='set the start-of-text token, e.g. --prefix "<|endoftext|>"',
            )
        found = self._echo(kept + continuation)
        offsets, logprobs, tops = found["text_offset"], found["token_logprobs"], found.get("top_logprobs")
        start = offsets[0]  # some servers count the tokens that they prepend
        ends = [*offsets[1:], start + len(kept) + len(continuation)]
        mine = [at for at, end in enumerate(ends) if end > start + len(kept)]
        if not mine or any(logprobs[at] is None for at in mine):
            raise InputError(f"the endpoint returns no probabilities for the continuation {continuation[:60]!r}")
        greedy = all(_is_top(logprobs[at], tops[at] if tops else None) for at in mine)
        return Likelihood(math.fsum(logprobs[at] for at in mine), len(mine), greedy)

    def _echo(self, text: str) -> dict[str, Any]:
        asked = {"prompt": text, "max_tokens": 1, "echo": True, "logprobs": 1, "temperature": 0}
        choice = self._call("completions", asked)["choices"][0]
        found = choice.get("logprobs") or {}
        lists = [found.get(key) for key in ("text_offset", "token_logprobs")]
        if not all(isinstance(one, list) for one in lists) or len({len(one) for one in lists if one}) != 1:
            raise InputError("the endpoint returns no log-probabilities of the prompt")
        # One token has to be generated (some servers refuse zero); it comes after the text.
        inside = [at for at, offset in enumerate(found["text_offset"]) if offset - found["text_offset"][0] < len(text)]
        return {key: [value[at] for at in inside] for key, value in found.items() if isinstance(value, list)}

    def _written(self, ask: Ask) -> Written:
        asked: dict[str, Any] = {"max_tokens": ask.max_tokens, "temperature": 0}
        if ask.until:
            asked["stop"] = list(ask.until)[:4]
        if ask.chat:
            asked["messages"] = [{"role": "user", "content": ask.prompt}]
            choice = self._call("chat/completions", asked)["choices"][0]
            text = str(choice["message"].get("content") or "")
        else:
            choice = self._call("completions", {**asked, "prompt": ask.prompt})["choices"][0]
            text = str(choice.get("text") or "")
        found = [at for stop in ask.until if (at := text.find(stop)) >= 0]
        return Written(text[: min(found)] if found else text, bool(found) or choice.get("finish_reason") == "stop")

    def _probed(self) -> tuple[bool, Any]:
        """Whether it returns prompt log-probabilities, and its response to the probe."""
        try:
            found = self._echo(_PROBE)
            values = [value for value in found["token_logprobs"][1:] if value is not None]
            if len(values) > 3 and len(set(values)) > 1:
                return True, [round(value, 1) for value in values]
        except (InputError, KeyError, IndexError, TypeError):
            pass
        return False, self._written(Ask(_PROBE, max_tokens=16)).text

    def _each(self, how: Callable[[T], R], wanted: Sequence[T]) -> list[R]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(how, wanted))

    def _call(self, path: str, body: dict[str, Any] | None) -> Any:
        data = None if body is None else json.dumps({"model": self.model, **body}).encode()
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        last = ""
        for attempt in range(TRIES):
            request = urllib.request.Request(f"{self.url}/{path}", data, headers)
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                    return json.loads(response.read())
            except urllib.error.HTTPError as error:
                said = " ".join(error.read().decode("utf-8", "replace").split())[:300]
                if error.code not in (408, 429) and error.code < 500:
                    raise InputError(f"{self.url}/{path} refused a request ({error.code}): {said}") from None
                last = f"{error.code} {said}"
            except (OSError, ValueError) as error:  # no connection, a broken one, or a body that is not JSON
                last = str(error)
            if attempt + 1 < TRIES:
                time.sleep(self.pause * 2**attempt)
        raise EndpointGone(
            f"{self.url} did not answer after {TRIES} attempts: {last}",
            hint="the answers so far are kept; run the same command again to resume",
        )


def _is_top(logprob: float, top: dict[str, float] | None) -> bool:
    return top is not None and bool(top) and logprob >= max(top.values()) - 1e-6
