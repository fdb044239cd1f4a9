from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.finetuning.data import read_rows
from tutelage.finetuning.prefer.config import PairsConfig
from tutelage.finetuning.prefer.pairs import Candidate, choose, judge, length_bias, make_pairs
from tutelage.store.errors import InputError
from tutelage.tasks import Grade, docstrings

from .conftest import corpus_rows, job, write_corpus


@dataclass
class Answer:
    text: str
    stop_reason: str


def candidate(score, words=5, perfect=False):
    return Candidate("w " * words + str(score), score, perfect, words)


def test_the_reference_is_chosen_where_it_keeps_every_rule():
    reference, samples = candidate(0.9, perfect=True), [candidate(0.95), candidate(0.4), candidate(0.6)]
    assert choose(reference, samples) == (reference, samples[1])


def test_else_the_best_sample_is():
    samples = [candidate(0.95), candidate(0.4), candidate(0.6)]
    assert choose(candidate(0.9), samples) == (samples[0], samples[1])


def test_among_equally_bad_ones_the_nearest_in_length_is_rejected():
    reference = candidate(1.0, words=8, perfect=True)
    samples = [candidate(0.5, words=2), candidate(0.5, words=9), candidate(0.5, words=20), candidate(0.7, words=8)]
    assert choose(reference, samples) == (reference, samples[1])


@given(st.lists(st.tuples(st.sampled_from([0.2, 0.5, 1.0]), st.integers(1, 9)), max_size=6), st.booleans())
def test_chosen_always_scores_higher(drawn, perfect):
    samples = [candidate(score, words) for score, words in drawn]
    pair = choose(candidate(0.5, perfect=perfect), samples)
    if pair is not None:
        assert pair[0].score > pair[1].score == min(sample.score for sample in samples)


def test_judge_asks_the_rule_about_the_row():
    asked = []

    def rule(*given):
        asked.append(given)
        return Grade(0.5, {"period": True, "verb": False})

    row = {"name": "a.b", "signature": "b()"}
    found = judge("  Two words ", row, rule)
    assert found == Candidate("Two words", 0.5, False, 2) and asked == [("Two words", row)]


def test_length_bias():
    pairs = [{"chosen": "a b c", "rejected": "a"}, {"chosen": "a", "rejected": "b"}]
    figures = length_bias(pairs)
    assert figures == {"chosen_words": 2.0, "rejected_words": 1.0, "chosen_longer": 0.5, "chosen_shorter": 0.0}


class Sampler:
    """Stands for the instructed model: answers depend on the prompt and the seed alone."""

    def __init__(self, die_after=None):
        self.calls, self.die_after = 0, die_after

    def chat_batch(self, asked, sampling):
        if self.calls == self.die_after:
            raise RuntimeError("killed")
        self.calls += 1
        endings = ["x", "Sort it.", "sorts the list", "Endless words and"]
        texts = [endings[(len(m[0].content) + sampling.seed + i) % 4] for i, m in enumerate(asked)]
        return [Answer(text, "length" if text.startswith("Endless") else "stop") for text in texts]


@pytest.fixture
def instructed(tmp_path):
    """Inputs of the stage: an instructed model, of which only the weights' hash counts here, and a corpus."""
    directory = tmp_path / "instructed"
    directory.mkdir()
    (directory / "model.safetensors").write_bytes(b"weights")
    return {"model": directory, "corpus": write_corpus(tmp_path / "corpus", corpus_rows())}


@pytest.fixture
def sampled(monkeypatch):
    def use(sampler):
        monkeypatch.setattr("tutelage.inference.language_model.load", lambda path: sampler)
        return sampler

    return use


CONFIG = PairsConfig(task="docstrings", prompts=40, samples=3, chunk=8)


def run(instructed, tmp_path, heard, name, work="work", config=CONFIG):
    made = job(config, tmp_path, heard.log, 3, **instructed)
    return make_pairs(dataclasses.replace(made, out=tmp_path / name, work=tmp_path / work))


def files(directory):
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def test_pairs_are_ranked_and_counted_and_endless_samples_are_not_used(instructed, tmp_path, heard, sampled):
    sampled(Sampler())
    metrics = run(instructed, tmp_path, heard, "out")
    train, held = (read_rows(tmp_path / "out" / f"{name}.jsonl") for name in ("train", "heldout"))
    assert (len(train), len(held)) == (metrics["pairs"], metrics["heldout_pairs"])
    assert held and metrics["samples"] == 120 and metrics["truncated_samples"] > 0
    for pair in train + held:
        assert list(pair) == ["id", "prompt", "chosen", "rejected", "chosen_score", "rejected_score"]
        assert pair["chosen_score"] > pair["rejected_score"] and not pair["rejected"].startswith("Endless")
    assert not {pair["prompt"] for pair in train} & {pair["prompt"] for pair in held}


@pytest.mark.parametrize("torn", ["", '[[{"text": "half'])
def test_a_killed_run_goes_on_and_ends_with_the_same_files(torn, instructed, tmp_path, heard, sampled):
    whole = sampled(Sampler())
    run(instructed, tmp_path, heard, "whole", "other")
    sampled(Sampler(die_after=2))
    with pytest.raises(RuntimeError, match="killed"):
        run(instructed, tmp_path, heard, "out")
    with (tmp_path / "work" / "samples.jsonl").open("a") as file:
        file.write(torn)  # a line the kill cut short
    rest = sampled(Sampler())
    run(instructed, tmp_path, heard, "out")
    assert whole.calls == 5 and rest.calls == 3
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    # Nothing is left to sample the third time.
    again = sampled(Sampler())
    run(instructed, tmp_path, heard, "again")
    assert again.calls == 0 and files(tmp_path / "again") == files(tmp_path / "whole")


def test_chunks_of_other_settings_are_not_taken(instructed, tmp_path, heard, sampled):
    sampled(Sampler())
    run(instructed, tmp_path, heard, "out")
    other = sampled(Sampler())
    run(instructed, tmp_path, heard, "out", config=PairsConfig(task="docstrings", prompts=40, samples=2, chunk=8))
    assert other.calls == 5


def test_a_reward_model_ranks_where_it_is_named(instructed, tmp_path, heard, sampled):
    """The longest answer is rewarded most here, whoever gave it; the task's rule is not asked."""

    class Both(Sampler):
        def rewards(self, conversations):
            assert all([turn.role for turn in turns] == ["user", "assistant"] for turns in conversations)
            return [float(len(turns[-1].content)) for turns in conversations]

    sampled(Both())
    config = PairsConfig(task="docstrings", prompts=40, samples=3, chunk=8, reward=str(tmp_path))
    run(instructed, tmp_path, heard, "out", config=config)
    pairs = [row for name in ("train", "heldout") for row in read_rows(tmp_path / "out" / f"{name}.jsonl")]
    assert pairs and all(len(pair["chosen"]) == pair["chosen_score"] > pair["rejected_score"] for pair in pairs)
    assert any(pair["chosen"] == "Sort it." or len(pair["chosen"]) > 14 for pair in pairs)


def test_answers_that_do_not_differ_are_one_clear_error(instructed, tmp_path, heard, monkeypatch, sampled):
    sampled(Sampler())
    with monkeypatch.context() as patch:
        same = dataclasses.replace(docstrings.TASK, grade=lambda *given: Grade(1.0, {"all": True}))
        patch.setattr(docstrings, "TASK", same)
        with pytest.raises(InputError, match="0 preference pairs"):
            run(instructed, tmp_path, heard, "out")
    few = write_corpus(tmp_path / "few", corpus_rows()[:1])
    with pytest.raises(InputError, match="1 training prompts"):
        run({**instructed, "corpus": few}, tmp_path, heard, "out")
