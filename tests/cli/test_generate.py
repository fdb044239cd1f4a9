"""`tutelage generate`: every option acts, and what excludes each other is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tutelage.cli.main import main
from tutelage.inference.language_model import LanguageModel
from tutelage.inference.sampling import Sampling
from tutelage.inference.search import Beam


@pytest.fixture(scope="module")
def model(lm: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("model")
    lm.save(directory)
    return str(directory)


def run(capsys: pytest.CaptureFixture[str], model: str, *options: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["generate", "ab", "-m", model, *options])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def rows(capsys: pytest.CaptureFixture[str], model: str, *options: str) -> Any:
    code, out, err = run(capsys, model, "--json", *options)
    assert code == 0, err
    return json.loads(out)


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ("", {}),
        ("--temperature 0", {"temperature": 0.0, "top_p": 1.0}),
        ("-t 1.2 --top-k 9 --top-p 1 --seed 3", {"temperature": 1.2, "top_k": 9, "top_p": 1.0, "seed": 3}),
        ("--min-p 0.2 --typical-p 0.8 --top-n-sigma 1", {"min_p": 0.2, "typical_p": 0.8, "top_n_sigma": 1.0}),
        ("--xtc-probability 0.9 --xtc-threshold 0.01", {"xtc_probability": 0.9, "xtc_threshold": 0.01}),
        ("--mirostat-tau 2 --mirostat-eta 0.5", {"top_p": 1.0, "mirostat_tau": 2.0, "mirostat_eta": 0.5}),
        ("--repetition-penalty 2 --presence-penalty 1 --frequency-penalty 2",
         {"repetition_penalty": 2.0, "presence_penalty": 1.0, "frequency_penalty": 2.0}),
        ("--no-repeat-ngram 1", {"no_repeat_ngram": 1}),
        ("--dry-multiplier 2 --dry-base 3 --dry-allowed-length 1 --dry-breaker x",
         {"dry_multiplier": 2.0, "dry_base": 3.0, "dry_allowed_length": 1, "dry_breakers": ("x",)}),
        ("--logit-bias 50=6 --logit-bias 60=-inf", {"logit_bias": {50: 6.0, 60: float("-inf")}}),
        ("--ignore-eos --min-tokens 3", {"ignore_eos": True, "min_tokens": 3}),
        ("--stop-id 100 --stop-id 90", {"stop_ids": (90, 100)}),
    ],
)  # fmt: skip
def test_options_become_settings(
    lm: LanguageModel, model: str, options: str, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    made = rows(capsys, model, "--max-tokens", "20", "--logprobs", "2", *options.split())
    sampling = Sampling(**{"max_tokens": 20, "temperature": 0.8, "top_p": 0.95, "top_logprobs": 2, **settings})
    (expected,) = lm.generate(["ab"], sampling)
    assert [token["id"] for token in made["logprobs"]] == expected.ids
    assert made["text"] == expected.text and made["stop_reason"] == expected.stop_reason
    assert made["logprobs"][0]["logprob"] == pytest.approx(expected.logprobs[0])
    assert [one["id"] for one in made["logprobs"][0]["top"]] == [one[0] for one in expected.top[0]]


def test_several_texts_and_beams(lm: LanguageModel, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = rows(capsys, model, "--n", "3", "--max-tokens", "6")["generations"]
    assert len({one["text"] for one in made}) == 3
    options = ["--beams", "4", "--length-penalty", "2", "--no-repeat-ngram", "2", "--n", "2", "--max-tokens", "6"]
    found = lm.search(["ab"], Beam(4, 6, 2.0, no_repeat_ngram=2))[0]
    made = rows(capsys, model, *options)["generations"]
    assert [one["text"] for one in made] == [one.text for one in found[:2]]
    assert made[0]["score"] == pytest.approx(found[0].score)
    groups = "--beams 4 --beam-groups 2 --diversity 9 --n 4 --logprobs 0"
    diverse = rows(capsys, model, *groups.split())
    assert len({one["logprobs"][0]["id"] for one in diverse["generations"]}) > 1
    made = rows(capsys, model, "--contrastive", "0.5", "--top-k", "3", "--max-tokens", "6")
    assert made["tokens"] == 6
    code, out, _ = run(capsys, model, "--n", "2", "--max-tokens", "3", "--logprobs", "1")
    assert code == 0 and "-- 1 of 2\nab" in out and "-- 2 of 2\nab" in out


def test_the_form_of_an_answer(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("llguidance")
    schema, grammar = tmp_path / "schema.json", tmp_path / "grammar.lark"
    schema.write_text('{"type": "array", "items": {"enum": [1, 2]}, "minItems": 2, "maxItems": 2}')
    grammar.write_text('start: "x" "y"')
    code, out, _ = run(capsys, model, "--json-schema", str(schema), "--max-tokens", "85")
    assert code == 0 and set(json.loads(out)) <= {1, 2}
    assert run(capsys, model, "--grammar", str(grammar))[1] == "xy\n"
    assert run(capsys, model, "--regex", "[q]{3}")[1] == "qqq\n"
    assert run(capsys, model, "--choice", "yes", "--choice", "no")[1] in ("yes\n", "no\n")
    assert "before its format was complete" in run(capsys, model, "--regex", "[q]{9}", "--max-tokens", "4")[2]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("--beams 2 --temperature 1", "--beams and --temperature exclude"),
        ("--beams 2 --top-p 0.9", "--beams and --top-p exclude"),
        ("--beams 2 --seed 3", "--beams and --seed exclude"),
        ("--beams 2 --regex a", "--beams and --regex exclude"),
        ("--beams 2 --contrastive 0.6", "--contrastive and --beams exclude"),
        ("--beams 2 --n 3", "--n 3 is more than --beams 2"),
        ("--beams 2 --logprobs 2", "its own tokens only"),
        ("--beams 3 --beam-groups 2 --diversity 1", "beam.groups must be a divisor"),
        ("--length-penalty 2", "--length-penalty does nothing without --beams"),
        ("--contrastive 0.6 --min-p 0.1", "--contrastive and --min-p exclude"),
        ("--contrastive 0.6 --n 2", "--n and --contrastive exclude"),
        ("--xtc-threshold 0.2", "--xtc-threshold does nothing without --xtc-probability"),
        ("--dry-base 2", "--dry-base does nothing without --dry-multiplier"),
        ("--mirostat-tau 3 --top-k 4", "top_k and sampling.mirostat_tau exclude"),
        ("--temperature 0 --n 2", "--n and temperature 0 exclude"),
        ("--temperature 0 --typical-p 0.5", "typical_p has no effect at temperature 0"),
        ("--regex a --choice b", "--regex and --choice exclude"),
        ("--json-schema none.json", "--json-schema none.json cannot be read"),
        ("--logit-bias five", "--logit-bias five: expected an id and a number"),
        ("--compare --temperature 1", "--compare and --temperature exclude"),
        ("--compare --beams 2", "--compare and --beams exclude"),
        ("--strategies greedy", "--strategies goes with --compare"),
        ("--compare --strategies best", "unknown decoding strategy 'best'"),
        ("--compare --strategies beam=2+top_k=3", "cannot be combined"),
    ],
)
def test_what_excludes_each_other_is_named(
    model: str, options: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, model, *options.split())
    assert code == 2 and named in err and not out


def test_ways_side_by_side(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = rows(capsys, model, "--compare", "--max-tokens", "30", "--n", "2", "--seed", "4")
    assert list(made) == ["greedy", "temperature=0.8", "top_p=0.9", "min_p=0.1", "beam=4", "contrastive=0.6"]
    assert [len(one["texts"]) for one in made.values()] == [1, 2, 2, 2, 1, 1]
    assert all({"repetition", "loops", "distinct-2", "bits per byte"} <= one.keys() for one in made.values())
    assert made["greedy"]["bits per byte"] < made["temperature=0.8"]["bits per byte"]
    code, out, _ = run(capsys, model, "--compare", "--max-tokens", "10", "--strategies", "greedy,beam=2")
    assert code == 0 and "greedy" in out and "beam=2" in out and "repetition: " in out


def test_help_groups_the_options(capsys: pytest.CaptureFixture[str], model: str) -> None:
    code, out, _ = run(capsys, model, "--help")
    assert code == 0
    for title in ("Sampling", "Repetition", "Constraints", "Search"):
        assert title in out


def test_speculation_changes_the_time_and_nothing_else(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    for options in (("--temperature", "0"), ("-t", "0.9", "--seed", "4", "--logprobs", "1")):
        plain = rows(capsys, model, *options)
        for how in (("--speculate", "lookup"), ("--draft", model)):
            made = rows(capsys, model, *options, *how)
            counts = made.pop("drafts")
            assert made == plain and 0 <= counts["accepted"] <= counts["drafted"]
            assert how[0] == "--speculate" or counts["drafted"] > 0
    code, _, err = run(capsys, model, "--speculate", "lookup")
    assert code == 0 and "drafted tokens were right" in err


@pytest.mark.parametrize(
    "options",
    [
        "--speculate none",
        "--speculate lookup --draft x",
        "--speculate lookup --beams 2",
        "--speculate lookup --compare",
    ],
)
def test_speculation_that_makes_no_sense_is_refused(
    model: str, options: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, model, *options.split())
    assert code == 2 and ("exclude" in err or "not known" in err)
