"""A crowd of clients with requests of all sizes, of which many go away: every answer is the one it would get alone."""

from __future__ import annotations

import asyncio
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


def request(draw: random.Random) -> dict[str, Any]:
    text = "".join(draw.choices("ab cd", k=draw.choice([1, 3, 10, 30])))
    fields: dict[str, Any] = {
        "model": "tutelage", "messages": [{"role": "user", "content": text}], "seed": draw.randrange(1000),
        "max_tokens": draw.choice([1, 4, 12]), "temperature": draw.choice([0, 1]), "n": draw.choice([1, 1, 2]),
    }  # fmt: skip
    if draw.random() < 0.2:
        fields["top_k"] = 5
    if draw.random() < 0.1:
        fields["regex"] = "[ab]+"
    return fields


async def crowd(port: int, asked: list[dict[str, Any]], expected: list[Any], seed: int) -> Counter[Any]:
    """What became of the requests: statuses, and `gone` of those given up."""
    seen: Counter[Any] = Counter()
    left = iter(enumerate(asked))

    async def client(number: int) -> None:
        draw = random.Random((seed, number).__hash__())
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            for at, fields in left:
                patience = draw.uniform(0.001, 0.05) if draw.random() < 0.15 else None
                try:
                    call = http.post("/v1/chat/completions", json=fields)
                    response = await (asyncio.wait_for(call, patience) if patience else call)
                except TimeoutError:
                    seen["gone"] += 1
                    continue
                seen[response.status_code] += 1
                assert response.status_code in STATUS, response.text
                if response.status_code == 200:
                    assert response.json()["choices"] == expected[at], fields

    await asyncio.gather(*map(client, range(CLIENTS)))
    return seen


@pytest.mark.parametrize("count", [120, pytest.param(10_000, marks=pytest.mark.slow)])
def test_every_answer_is_the_one_it_would_get_alone(lm: LanguageModel, count: int) -> None:
    draw = random.Random(1)
    kinds = [request(draw) for _ in range(min(count // 3, 400))]
    limits = Limits(waiting=80, connections=200, together=8)
    with serving(lm, limits) as port:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as one:
            alone = [one.post("/v1/chat/completions", json=fields).json()["choices"] for fields in kinds]
        drawn = [draw.randrange(len(kinds)) for _ in range(count)]
        asked, expected = [kinds[at] for at in drawn], [alone[at] for at in drawn]
        asyncio.run(crowd(port, asked[: count // 3], expected, 1))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seen = asyncio.run(crowd(port, asked[count // 3 :], expected[count // 3 :], 2))
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        assert httpx.get(f"http://127.0.0.1:{port}/ready", timeout=20).status_code == 200
    assert seen[200] > 0.6 * (count - count // 3) and seen["gone"] > 0
    assert grown < 60, f"{grown:.0f} MB more at the end"
