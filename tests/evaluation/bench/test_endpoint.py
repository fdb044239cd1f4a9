"""A small server that speaks the completions protocol stands in for any."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tutelage.evaluation.bench.bench import Wanted, prepare_all, run_benchmarks
from tutelage.evaluation.bench.cache import AnswerCache
from tutelage.evaluation.bench.endpoint import EndpointGone, EndpointModel
from tutelage.evaluation.bench.ours import OurModel
from tutelage.evaluation.bench.protocol import Ask, Pair
from tutelage.evaluation.bench.selftest import refuse_wrong, self_test
from tutelage.evaluation.bench.task import BenchTask
from tutelage.inference.scoring import Window, target_logprobs
from tutelage.store.errors import ConfigError, InputError


class Server(ThreadingHTTPServer):
    model: OurModel
    echoes = True
    answers_left = 10**9
    prompts: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._send({"data": [{"id": "tiny"}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.answers_left <= 0:
            self.close_connection = True
            return
        self.server.answers_left -= 1
        if "refuse me" in asked.get("prompt", ""):
            self._send({"error": "the prompt is too long for this model"}, 400)
            return
        if "messages" in asked:
            self._send({"choices": [{"message": {"content": "said"}, "finish_reason": "stop"}]})
            return
        self.server.prompts.append(asked["prompt"])
        choice: dict[str, Any] = {"text": "", "finish_reason": "length"}
        if asked.get("echo"):
            choice["logprobs"] = self._echo(asked["prompt"]) if self.server.echoes else None
        else:
            choice["text"] = self.server.model.generate([Ask(asked["prompt"], max_tokens=asked["max_tokens"])])[0].text
        self._send({"choices": [choice]})

    def _echo(self, text: str) -> dict[str, Any]:
        lm = self.server.model.lm
        ids = lm.tokenizer.encode(text)
        found, best = target_logprobs(lm.model, [Window(ids, len(ids) - 1)])[0]
        logprobs = [None, *found.tolist()]
        tops = [None, *({"x": value + (0.0 if top else 1.0)} for value, top in zip(found.tolist(), best, strict=True))]
        # And the token that was generated, as servers do that refuse to generate none.
        return {"text_offset": [*range(len(ids)), len(ids)], "token_logprobs": [*logprobs, -1.0],
                "top_logprobs": [*tops, {"x": -1.0}], "tokens": [*text, "x"]}  # fmt: skip

    def _send(self, data: Any, code: int = 200) -> None:
        body = json.dumps(data).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server(model: OurModel) -> Iterator[Server]:
    made = Server(("127.0.0.1", 0), Handler)
    made.model, made.prompts = model, []
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


def opened(server: Server, **more: Any) -> EndpointModel:
    return EndpointModel(f"http://127.0.0.1:{server.server_port}/v1", pause=0.01, **more)


def test_scores_are_those_of_the_model_behind_it(server: Server, model: OurModel):
    far = opened(server)
    pairs = [Pair("ab ", "cd"), Pair("A line", " goes on"), Pair("x", "y z")]
    for ours, theirs in zip(model.score(pairs), far.score(pairs), strict=True):
        assert theirs.logprob == pytest.approx(ours.logprob, abs=1e-3)
        assert (theirs.tokens, theirs.greedy) == (ours.tokens, ours.greedy)


def test_a_text_alone_needs_what_begins_a_text(server: Server):
    assert not opened(server).empty_context
    with pytest.raises(InputError, match="first token"):
        opened(server).score([Pair("", "a")])
    assert opened(server, prefix="\n").score([Pair("", "a")])[0].tokens == 1


def test_it_passes_the_self_test(server: Server):
    refuse_wrong(self_test(opened(server, prefix="\n")), "endpoint")


def test_without_log_probabilities_it_can_only_write(server: Server, sums: BenchTask):
    server.echoes = False
    far = opened(server)
    assert not far.likelihoods
    assert far.generate([Ask("one", max_tokens=3), Ask("Hello", chat=True)])[1].text == "said"
    with pytest.raises(ConfigError, match="only generates"):
        run_benchmarks(far, prepare_all([Wanted(sums)]))


def test_one_that_dies_midway_is_said_and_goes_on_later(server: Server, sums: BenchTask, tmp_path: Any):
    prepared = prepare_all([Wanted(sums)])
    far = opened(server)
    whole = run_benchmarks(far, prepared)[0]
    far.piece = 300
    server.answers_left = 45
    with pytest.raises(EndpointGone, match="did not answer"):
        run_benchmarks(far, prepared, AnswerCache(tmp_path / "cache.sqlite"))
    server.answers_left = 10**9
    server.prompts.clear()
    once_more = opened(server)
    once_more.piece = 300
    again = run_benchmarks(once_more, prepared, AnswerCache(tmp_path / "cache.sqlite"))[0]
    assert again.figures == whole.figures
    assert len(server.prompts) < 60  # 20 items of 3 choices: not all were asked again


def test_what_it_refuses_is_told_in_its_own_words(server: Server):
    with pytest.raises(InputError, match="too long for this model"):
        opened(server).score([Pair("refuse me", " now")])


def test_another_model_behind_the_same_address_is_another(server: Server, lm: Any):
    first = opened(server)
    import torch

    from tutelage.inference.language_model import LanguageModel
    from tutelage.model.decoder import DecoderLM

    assert opened(server).identity == first.identity
    torch.manual_seed(0)
    server.model = OurModel(LanguageModel(DecoderLM(lm.config, seed=9), lm.tokenizer), "other")
    assert opened(server).identity != first.identity


def test_a_model_it_does_not_serve(server: Server):
    with pytest.raises(ConfigError, match="it serves: tiny"):
        opened(server, model="large")
