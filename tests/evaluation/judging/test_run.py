"""Judges, files of answers, endpoints that die, votes of people, and what is reported of all that."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tutelage.evaluation.judging.annotate import annotation_page, read_votes
from tutelage.evaluation.judging.answers import Matched, read_answers
from tutelage.evaluation.judging.judges import EndpointJudge, LocalJudge, RuleJudge, find_judge
from tutelage.evaluation.judging.prompts import Question, ask, read_rating, read_verdict
from tutelage.evaluation.judging.report import family, judge_all, people_all, rate_all, self_preference
from tutelage.evaluation.judging.run import FILE, ask_all, judge_pairs
from tutelage.inference.language_model import LanguageModel
from tutelage.model.decoder import DecoderLM
from tutelage.store.errors import ConfigError, DamagedError, InputError
from tutelage.store.events import EventLog

LOG = EventLog(None)


def write(path: Path, answers: list[str], **more: Any) -> Path:
    rows = [{"prompt": f"Question {at}?", "answer": text, **more} for at, text in enumerate(answers)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def two(folder: Path, n: int = 30) -> Matched:
    generator = np.random.default_rng(0)
    long, short = (
        [f"{name} {at} " + "word " * int(k) for at, k in enumerate(generator.integers(low, low + 12, n))]
        for name, low in (("I", 6), ("We", 2))
    )
    return read_answers([write(folder / "long.jsonl", long), write(folder / "short.jsonl", short)])


class Server:
    """Says VERDICT: A to everything, or what `reply` gives; after `dies` requests it fails."""

    def __init__(self, reply: str = "Because.\nVERDICT: A", dies: int | None = None, code: int = 400) -> None:
        self.reply, self.dies, self.code, self.seen = reply, dies, code, []  # type: ignore[var-annotated]
        lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    server.seen.append(body)
                    failing = server.dies is not None and len(server.seen) > server.dies
                answer = {"choices": [{"message": {"content": server.reply}}]}
                data = b"gone" if failing else json.dumps(answer).encode()
                self.send_response(server.code if failing else 200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"


@contextmanager
def serving(**how: Any) -> Iterator[Server]:
    server = Server(**how)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()


def test_replies_are_read_or_counted_as_unreadable() -> None:
    assert read_verdict("A is shorter.\nVERDICT: B") == 0.0
    assert read_verdict("VERDICT: A ... no, VERDICT: **TIE**") == 0.5
    assert [read_verdict(text) for text in ("a", " B.", "(TIE)")] == [1.0, 0.0, 0.5]
    assert [read_verdict(text) for text in ("", "A and B are both fine", "Answer A", "VERDICT: C")] == [None] * 4
    assert read_rating("fine\nRATING: 7") == 7.0
    assert [read_rating(text) for text in ("10", "8/10", "RATING: 7.5", "3.")] == [10.0, 8.0, 7.5, 3.0]
    assert [read_rating(text) for text in ("", "11", "0", "seven", "RATING: 42")] == [None] * 5


def test_what_is_asked_holds_both_answers_and_braces_are_safe() -> None:
    text = ask(Question("Why {x}?", "one {y}", "two", "the {truth}"), reasoned=True)
    assert text.index("Why {x}?") < text.index("one {y}") < text.index("two")
    assert "the {truth}" in text
    assert "VERDICT: A" in text
    assert "[Answer B]" not in ask(Question("Why?", "one"), reasoned=False)


def test_answers_are_matched_by_prompt(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"messages": [{"role": "user", "content": "p"}], "response": "x"}\n{"prompt": "q", "output": "y"}\n'
    )
    (tmp_path / "b.jsonl").write_text('{"instruction": "q", "text": "z", "model": "big", "reference": "r"}\n')
    found = read_answers([tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    assert found.names == ("a", "big")
    assert [(one.prompt, one.answers, one.reference) for one in found.items] == [("q", ("y", "z"), "r")]
    assert found.left_out == {"a": 1}
    with pytest.raises(InputError, match="no prompt in common"):
        read_answers([tmp_path / "a.jsonl", write(tmp_path / "c.jsonl", ["x"])])
    (tmp_path / "d.jsonl").write_text('{"prompt": "q", "answer": 3}\n')
    with pytest.raises(InputError, match="row 1: no answer"):
        read_answers([tmp_path / "d.jsonl"])
    (tmp_path / "e.jsonl").write_text('{"prompt": "q", "answer": "a"}\n' * 2)
    with pytest.raises(InputError, match="row 2: duplicate prompt"):
        read_answers([tmp_path / "e.jsonl"])


def test_a_judge_who_counts_letters_is_seen_through(tmp_path: Path) -> None:
    found = judge_all(find_judge("rule:longer", None, _no_model), two(tmp_path, 80), tmp_path / "out", LOG)
    (pair,) = found["pairs"]
    assert pair["outcome"] == "better"
    assert pair["longer_wins"]["value"] == 1.0
    assert pair["length_controlled"]["win_rate"]["value"] < pair["win_rate"]["value"]
    assert any("prefers longer answers" in text for text in pair["warnings"])
    assert pair["position"]["first"]["value"] == 0.5
    assert "A rule only sees what it counts" in found["cautions"][0]


def test_a_judge_who_takes_the_first_is_seen_through(tmp_path: Path) -> None:
    found = judge_all(find_judge("rule:first", None, _no_model), two(tmp_path, 80), tmp_path / "out", LOG)
    (pair,) = found["pairs"]
    assert (pair["win_rate"]["value"], pair["outcome"]) == (0.5, "not resolved")
    assert pair["position"]["first"]["value"] == 1.0
    assert [text[:40] for text in pair["warnings"]] == [
        "the judge prefers the answer shown first",
        "100 % of its verdicts flip with the orde",
    ]


def test_an_endpoint_is_asked_both_ways_round_and_nothing_twice(tmp_path: Path) -> None:
    matched = two(tmp_path, 12)
    with serving() as server:
        judge = EndpointJudge(server.url, "big")
        outcomes = judge_pairs(judge, matched.items, 0, 1, tmp_path / "out", LOG)
        again = judge_pairs(judge, matched.items, 0, 1, tmp_path / "out", LOG)
    assert outcomes.tolist() == [[1.0, 0.0]] * 12
    assert again.tolist() == outcomes.tolist()
    assert len(server.seen) == 24
    assert server.seen[0]["temperature"] == 0
    other = EndpointJudge(server.url, "other", pause=0.0)
    with pytest.raises(InputError, match="did not answer"):  # another judge: nothing is known, and nobody listens
        judge_pairs(other, matched.items, 0, 1, tmp_path / "out", LOG)


def test_an_endpoint_that_dies_midway_is_resumed(tmp_path: Path) -> None:
    matched, out = two(tmp_path, 12), tmp_path / "out"
    with serving(dies=10) as server:
        judge = EndpointJudge(server.url, "big", parallel=2, pause=0.0)
        with pytest.raises(InputError, match="HTTP 400: gone; 10 of 24 new judgements are kept") as caught:
            judge_pairs(judge, matched.items, 0, 1, out, LOG)
        assert "run the same command again" in str(caught.value)
        assert len((out / FILE).read_text().splitlines()) == 10
        with (out / FILE).open("a") as file:
            file.write('{"key": "cut off in wri')
        asked = len(server.seen)
        server.dies = None
        outcomes = judge_pairs(judge, matched.items, 0, 1, out, LOG)
        assert len(server.seen) - asked == 14
    assert outcomes.tolist() == [[1.0, 0.0]] * 12
    assert ask_all(judge, [Question("Question 0?", *matched.items[0].answers)], out, LOG)[0].value == 1.0


def test_a_busy_endpoint_is_asked_again(tmp_path: Path) -> None:
    with serving(dies=0, code=503) as server:
        judge = EndpointJudge(server.url, "big", pause=0.0)
        with pytest.raises(InputError, match="HTTP 503"):
            judge.judge(Question("p", "a", "b"))
        assert len(server.seen) == 4
    with serving(reply="I would rather not say") as server, pytest.raises(InputError, match=r"no verdict.*can be read"):
        judge_all(EndpointJudge(server.url, "big"), two(tmp_path, 2), tmp_path / "out", LOG)


def test_ratings(tmp_path: Path) -> None:
    with serving(reply="RATING: 7") as server:
        found = rate_all(EndpointJudge(server.url, "big"), two(tmp_path, 3), tmp_path / "out", LOG)
    assert [(one["who"], one["value"], one["n"]) for one in found["ratings"]] == [("long", 7.0, 3), ("short", 7.0, 3)]
    assert found["comparisons"][0]["outcome"] == "too few items"


class Likes:
    """A model for which a reply is the likelier the more often its letter stands in the text before."""

    class tokenizer:
        chat_template = None

    def score(self, pairs: list[tuple[str, str]]) -> list[Any]:
        return [type("Score", (), {"logprob": float(context.count(reply.strip()))}) for context, reply in pairs]


def test_a_model_on_this_machine_judges_by_likelihood() -> None:
    judge = LocalJudge(Likes(), "small")  # type: ignore[arg-type]
    assert judge.judge(Question("p", "A A A A A", "x")).value == 1.0
    assert judge.judge(Question("p", "x", "B B B B B")).value == 0.0
    rating = judge.judge(Question("p", "9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9")).value
    assert rating is not None
    assert rating == pytest.approx(9.0, abs=0.1)
    assert judge.cautions


def test_the_model_of_this_project_judges_and_what_is_too_long_for_it_is_not_cut(lm: LanguageModel) -> None:
    judge = LocalJudge(lm, "tiny")
    assert judge.judge(Question("p", "a", "b" * 10_000)).value is None
    assert "context" in judge.judge(Question("p", "a", "b" * 10_000)).text
    wide = LanguageModel(DecoderLM(lm.config.with_(max_position_embeddings=1024), seed=1), lm.tokenizer)
    asked = [judge.judge(Question("p", "one", "two")) for judge in (LocalJudge(wide, "tiny"),) * 2]
    assert asked[0] == asked[1]
    assert asked[0].value in (0.0, 0.5, 1.0)
    rating = LocalJudge(wide, "tiny").judge(Question("p", "one")).value
    assert rating is not None
    assert 1 <= rating <= 10


def _no_model(name: str) -> Any:
    raise AssertionError(name)


def test_judges_are_found_by_name() -> None:
    assert isinstance(find_judge("rule:first", None, _no_model), RuleJudge)
    assert find_judge("http://x/v1", "m", _no_model, 7).parallel == 7
    assert find_judge("org/Some-Model", None, lambda name: Likes()).name == "org/Some-Model"  # type: ignore[arg-type,return-value]
    with pytest.raises(ConfigError, match="unknown rule"):
        find_judge("rule:best", None, _no_model)
    with pytest.raises(ConfigError, match="requires a model name"):
        find_judge("http://x/v1", None, _no_model)
    with pytest.raises(InputError, match="requires a `reference`"):
        find_judge("rule:chrf", None, _no_model).judge(Question("p", "a", "b"))
    assert find_judge("rule:chrf", None, _no_model).judge(Question("p", "the cat", "a dog", "the cat")).value == 1.0


def test_kin_are_flagged() -> None:
    assert family("meta-llama/Llama-3.1-8B") == family("llama3") == "llama"
    assert family("rule:longer") == family("7b") == ""
    assert "its own answers" in self_preference("gpt-4o", "gpt-4o")
    assert "own family" in self_preference("openai/gpt-4o", "gpt-4-turbo")
    assert self_preference("gpt-4o", "claude-x") == ""


def test_people_vote_blind_and_their_votes_are_read(tmp_path: Path) -> None:
    matched = two(tmp_path, 40)
    page = annotation_page(matched, sample=25, seed=3)
    assert page == annotation_page(matched, sample=25, seed=3)
    assert "long" not in json.dumps(_items(page))
    assert "short" not in page
    items = _items(page)
    assert len({one["key"] for one in items}) == 25
    answers = {one.prompt: one.answers for one in matched.items}
    sides = [one["left"] == answers[one["prompt"]][0] for one in items]
    assert 4 < sum(sides) < 21  # sides are drawn
    # The voter likes the longer text wherever it stands.
    votes = {one["key"]: "left" if len(one["left"]) > len(one["right"]) else "right" for one in items}
    votes[items[0]["key"]] = "tie"
    (tmp_path / "votes.json").write_text(json.dumps({"format": 1, "page": "x", "votes": votes}))
    read = read_votes(tmp_path / "votes.json", matched)
    assert list(read) == [(0, 1)]
    assert len(read[0, 1]) == 25
    for at, outcome in read[0, 1].items():
        first, second = matched.items[at].answers
        assert outcome == 0.5 or outcome == float(len(first) > len(second))
    found = judge_all(find_judge("rule:longer", None, _no_model), matched, tmp_path / "out", LOG, read)
    agreed = found["pairs"][0]["agreement"]
    assert (agreed["n"], agreed["few"]) == (25, True)
    assert agreed["share"]["value"] == pytest.approx(24 / 25)
    with pytest.raises(InputError, match="no vote in"):
        read_votes(tmp_path / "votes.json", Matched(("a", "b"), matched.items[:0], {}))
    (tmp_path / "bad.json").write_text('{"votes": {"x": "middle"}}')
    with pytest.raises(DamagedError, match="contains no votes"):
        read_votes(tmp_path / "bad.json", matched)


def test_a_page_cannot_be_broken_by_an_answer(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", ["</script><script>alert(1)</script>"])
    page = annotation_page(read_answers([a, write(tmp_path / "b.jsonl", ["fine"])]))
    assert "alert(1)</script>" not in page
    assert {"</script><script>alert(1)</script>", "fine"} == {_items(page)[0]["left"], _items(page)[0]["right"]}
    with pytest.raises(InputError, match="all answers are equal"):
        annotation_page(read_answers([a, write(tmp_path / "c.jsonl", ["</script><script>alert(1)</script>"])]))


def _items(page: str) -> list[dict[str, Any]]:
    text = page.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    return list(json.loads(text)["items"])


def test_votes_of_people_rank_three_parties_by_themselves(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{name}.jsonl", [f"{name} {at}" for at in range(40)]) for name in ("x", "y", "z")]
    matched = read_answers(files)
    votes = {(a, b): {at: float(at % 4 > 0) for at in range(40)} for a, b in ((0, 1), (1, 2), (0, 2))}
    found = people_all(matched, votes)
    assert [one["who"] for one in found["standings"]] == ["x", "y", "z"]
    assert found["pairs"][0]["win_rate"]["value"] == 0.75
    assert found["pairs"][0]["outcome"] == "better"


def test_three_parties_are_ranked(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{name}.jsonl", ["x" * (k + at % 3) for at in range(20)]) for name, k in
             (("one", 5), ("two", 6), ("three", 30))]  # fmt: skip
    found = judge_all(find_judge("rule:longer", None, _no_model), read_answers(files), tmp_path / "out", LOG)
    assert [one["who"] for one in found["standings"]] == ["three", "two", "one"]
    assert len(found["pairs"]) == 3
