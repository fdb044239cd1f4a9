"""A crowd of clients with requests of all sizes, of which many go away: every answer is the one it would get alone."""

from __future__ import annotations

import asyncio
import json
import math
import random
import resource
from collections import Counter
from typing import Any

import httpx
import pytest
from served import serving

from tutelage.inference.language_model import LanguageModel
from tutelage.serving.protocol import Limits

CLIENTS = 64
STATUS = {200, 429, 503}
CHAT, RESPONSES, COMPLETIONS = "/v1/chat/completions", "/v1/responses", "/v1/completions"
Asked = tuple[str, dict[str, Any]]


def request(draw: random.Random) -> Asked:
    """A path and what is sent there."""
    text = "".join(draw.choices("ab cd", k=draw.choice([1, 3, 10, 30])))
    path = draw.choice([CHAT, CHAT, CHAT, COMPLETIONS, COMPLETIONS, RESPONSES, "/v1/embeddings", "/v1/tokenize"])
    fields: dict[str, Any] = {"model": "tutelage"}
    if path in ("/v1/embeddings", "/v1/tokenize"):
        return path, {**fields, ("input" if path == "/v1/embeddings" else "prompt"): text}
    fields |= {"temperature": draw.choice([0, 1]), "stream": draw.random() < 0.4}
    longest = draw.choice([1, 4, 12])
    if path == RESPONSES:  # which has no seed
        return path, {**fields, "input": text, "temperature": 0, "max_output_tokens": longest}
    fields |= {"seed": draw.randrange(-1000, 1000), "n": draw.choice([1, 1, 2]), "max_tokens": longest}
    if draw.random() < 0.2:
        fields["top_k"] = 5
    if draw.random() < 0.1:
        fields["regex"] = "[ab]+"
    if path == CHAT:
        return path, {**fields, "messages": [{"role": "user", "content": text}], "logprobs": draw.random() < 0.3}
    more = draw.choice([{}, {"echo": True, "logprobs": 2}, {"logprobs": 1}, {"echo": True, "prompt": [text, "ab"]}])
    return path, {**fields, "prompt": text, **more}


def said(path: str, body: str) -> Any:
    """What an answer says, whether it was streamed or not, without what differs from one to the next."""
    if body.startswith(("data: ", "event: ")):
        steps = [line[6:] for line in body.splitlines() if line.startswith("data: ")]
        events = [json.loads(step) for step in steps if step != "[DONE]"]
        assert path == RESPONSES or steps[-1] == "[DONE]", body[-200:]
        if path == RESPONSES:
            (last,) = [
                one["response"] for one in events if one["type"] in ("response.completed", "response.incomplete")
            ]
            return _texts(last)
        found: dict[int, list[Any]] = {}
        for one in (choice for event in events for choice in event["choices"]):
            texts, tokens, reasons = found.setdefault(one["index"], ["", [], []])
            delta = one.get("text") or one.get("delta", {}).get("content") or ""
            reasons += [one["finish_reason"]] if one["finish_reason"] else []
            found[one["index"]] = [texts + delta, tokens + _tokens(one), reasons]
        return sorted(found.items())
    answer = json.loads(body)
    if path == RESPONSES:
        return _texts(answer)
    if path == "/v1/embeddings":
        return [one["embedding"] for one in answer["data"]]
    if path == "/v1/tokenize":
        return answer["tokens"]
    choices = {}
    for one in answer["choices"]:
        text = one.get("text") or one.get("message", {}).get("content") or ""
        choices[one["index"]] = [text, _tokens(one), [one["finish_reason"]]]
    return sorted(choices.items())


def alike(one: Any, other: Any) -> bool:
    """Equal; numbers with a fraction to the third place, as they depend on how many rows are read at once."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=0, abs_tol=2e-3)
    return bool(one == other)


def _texts(response: Any) -> Any:
    return [part["text"] for item in response["output"] for part in item["content"]], response["usage"]["output_tokens"]


def _tokens(choice: Any) -> list[Any]:
    found = choice.get("logprobs") or {}
    if "content" in found:
        return [(one["token"], one["logprob"]) for one in found["content"]]
    return list(zip(found.get("tokens", []), found.get("token_logprobs", []), strict=True))


async def crowd(port: int, asked: list[Asked], expected: list[Any], seed: int) -> Counter[Any]:
    """What became of the requests: statuses, and `gone` of those given up."""
    seen: Counter[Any] = Counter()
    left = iter(enumerate(asked))

    async def client(number: int) -> None:
        draw = random.Random((seed, number).__hash__())
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            for at, (path, fields) in left:
                patience = draw.uniform(0.001, 0.05) if draw.random() < 0.15 else None
                try:
                    call = http.post(path, json=fields)
                    response = await (asyncio.wait_for(call, patience) if patience else call)
                except TimeoutError:
                    seen["gone"] += 1
                    continue
                seen[response.status_code] += 1
                assert response.status_code in STATUS, response.text
                if response.status_code == 200:
                    assert alike(said(path, response.text), expected[at]), (path, fields, response.text)

    await asyncio.gather(*map(client, range(CLIENTS)))
    return seen


async def at_once(port: int, count: int) -> set[int]:
    """The statuses of so many requests at the same time."""
    fields = {"model": "tutelage", "prompt": "a", "max_tokens": 3}
    limits = httpx.Limits(max_connections=count)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60, limits=limits) as http:
        answers = await asyncio.gather(*[http.post(COMPLETIONS, json=fields) for _ in range(count)])
        return {one.status_code for one in answers}


@pytest.mark.parametrize("count", [120, pytest.param(10_000, marks=pytest.mark.slow)])
def test_every_answer_is_the_one_it_would_get_alone(lm: LanguageModel, count: int) -> None:
    draw = random.Random(1)
    kinds = [request(draw) for _ in range(min(count // 3, 400))]
    limits = Limits(waiting=80, connections=200, together=8)
    with serving(lm, limits) as port:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as one:
            alone = [said(path, one.post(path, json=fields).text) for path, fields in kinds]
            # A stream says what the whole answer says.
            for (path, fields), expected_one in zip(kinds, alone, strict=True):
                if "stream" in fields:
                    other = one.post(path, json={**fields, "stream": not fields["stream"]})
                    assert alike(said(path, other.text), expected_one), (path, fields)
        drawn = [draw.randrange(len(kinds)) for _ in range(count)]
        asked, expected = [kinds[at] for at in drawn], [alone[at] for at in drawn]
        asyncio.run(crowd(port, asked[: count // 3], expected, 1))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seen = asyncio.run(crowd(port, asked[count // 3 :], expected[count // 3 :], 2))
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        assert httpx.get(f"http://127.0.0.1:{port}/ready", timeout=20).status_code == 200
        # Every place is free again: as many as there are places are served at once.
        assert asyncio.run(at_once(port, limits.waiting + limits.together)) == {200}
    assert seen[200] > 0.6 * (count - count // 3) and seen["gone"] > 0
    assert grown < 60, f"{grown:.0f} MB more at the end"
