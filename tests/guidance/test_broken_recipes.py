"""Ten recipes with one fault each: what `advise` says first is that fault; some faults cannot be written at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_rules import asked

from tutelage.recipe.config import Recipe, load_recipe
from tutelage.recipe.fixes import apply_fixes
from tutelage.store.errors import ConfigError


def rows(path: Path, question: str = "What is {i} and {i}?", answer: str = "It is {j}, as one can see.") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(
            json.dumps({"prompt": question.format(i=i), "response": answer.format(j=2 * i)}) + "\n" for i in range(60)
        )
    )
    return path


def chat(path: Path, more: str = "") -> str:
    return f"finetune.chat={{method: instruct, data: {path}{more}}}"


def texts(folder: Path) -> Path:
    """A corpus that holds the very rows."""
    rows(folder / "rows.jsonl")
    (folder / "essay.txt").write_text("A text about something else altogether, and long enough.\n" * 50)
    return folder


BROKEN: list[tuple[str, str, Callable[[Path], list[str]]]] = [
    ("EOS not trained", "stop-as-text", lambda p: [chat(rows(p / "r.jsonl", answer="It is {j}.</s>"))]),
    ("learning rate 30 times", "learning-rate", lambda p: ["pretrain.training.learning_rate=0.18"]),
    ("template mismatch", "template-as-text",
     lambda p: [chat(rows(p / "r.jsonl", "### Instruction:\nWhat is {i}?\n### Response:"))]),
    ("40 epochs", "classifier-epochs", lambda p: ["finetune.classify.training.epochs=40"]),
    ("DPO rate as SFT's", "preference-learning-rate", lambda p: ["finetune.prefer.training.learning_rate=1e-3"]),
    ("vocabulary too large for the model", "embedding-share", lambda p: ["tokenizer.vocab_size=16384"]),
    ("warm-up longer than the run", "warmup", lambda p: ["pretrain.training.warmup_steps=4000"]),
    ("LoRA on q and v only", "lora-targets",
     lambda p: [chat(rows(p / "r.jsonl"), ", lora: {targets: [q_proj, v_proj]}")]),
    ("test set in the corpus", "test-in-corpus",
     lambda p: [f"corpus.source={texts(p / 'texts')}", "corpus.prose=false", chat(p / "texts" / "rows.jsonl")]),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "rule", "sets"), BROKEN, ids=[fault for fault, _, _ in BROKEN])
def test_the_fault_is_named_first(fault: str, rule: str, sets: Callable[[Path], list[str]], tmp_path: Path) -> None:
    found = asked(load_recipe(None, sets(tmp_path)))
    assert found[0].rule == rule and found[0].level in ("warning", "error"), [(one.level, one.rule) for one in found]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("pooling: position_63", "padding"),
        ("pad_token: unk", "padding tokens are never read"),
        ("train_on_eos: none", "is always trained"),
        ("chat_template: alpaca", "own chat template"),
    ],
)
def test_the_tenth_and_its_like_cannot_be_written(given: str, says: str) -> None:
    """Pooling padding, leaving out the stop token or serving another template: refused, with what is done instead."""
    with pytest.raises(ConfigError) as error:
        load_recipe(None, [f"finetune.classify={{method: classify, task: labels, {given}}}"])
    assert says in str(error.value) and "finetune.classify" in str(error.value)


def test_a_sound_recipe_with_own_rows_draws_none_of_these(tmp_path: Path) -> None:
    sound = ["corpus.source=" + str(texts(tmp_path / "texts")), chat(rows(tmp_path / "own.jsonl", "Why {i} of {i}?"))]
    (tmp_path / "texts" / "rows.jsonl").unlink()
    named = {rule for _, rule, _ in BROKEN}
    assert not named & {one.rule for one in asked(load_recipe(None, sound))} - {"embedding-share", "warmup"}


def test_rows_copied_into_other_files_of_the_corpus_are_found_too(tmp_path: Path) -> None:
    own = rows(tmp_path / "own.jsonl")
    (tmp_path / "texts").mkdir()
    lines = [json.loads(line)["response"] for line in own.read_text().splitlines()]
    long = rows(
        tmp_path / "long.jsonl", answer="It is {j}, and the reason why is known to nobody but the one who asked."
    )
    answers = [json.loads(line)["response"] for line in long.read_text().splitlines()]
    (tmp_path / "texts" / "a.txt").write_text("\n\n".join(answers[:30] + lines))
    sets = [f"corpus.source={tmp_path / 'texts'}", chat(long)]
    (found, *_) = asked(load_recipe(None, sets))
    assert found.rule == "test-in-corpus" and "30 of 40" in found.message


def test_mending_ends_says_what_it_set_and_keeps_the_rest() -> None:
    data: dict[str, Any] = {
        "name": "mine", "pretrain": {"training": {"learning_rate": 0.18, "warmup_steps": 4000}}, "finetune": {},
    }  # fmt: skip

    def fixes(recipe: Recipe) -> list[str]:
        return [one.fix for one in asked(recipe) if one.fix and one.level in ("warning", "error")]

    fixed = apply_fixes(data, fixes)
    assert {one.partition("=")[0] for one in fixed.sets} == {
        "pretrain.training.learning_rate", "pretrain.training.warmup_steps"
    }  # fmt: skip
    assert fixed.data.keys() == data.keys() and data["pretrain"]["training"]["learning_rate"] == 0.18
    assert not fixes(Recipe.parse(fixed.data)) and not fixed.refused
    assert apply_fixes(fixed.data, fixes).sets == ()


def test_a_fix_that_the_recipe_does_not_allow_is_said_and_left_out() -> None:
    fixed = apply_fixes({}, lambda recipe: ["--set model.num_kv_heads=3", "--set seed=5"])
    assert fixed.data == {"seed": 5} and fixed.sets == ("seed=5",)
    assert len(fixed.refused) == 1 and "num_kv_heads" in fixed.refused[0]
