"""Every rule can fire, is silent where it should be, and its fix mends what it found. Facts are the specs' own."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.guidance.forecast import look_ahead
from tutelage.guidance.machine import Idle
from tutelage.guidance.rules import Advice, advise, every_rule, facts_of
from tutelage.recipe.config import Recipe, load_recipe
from tutelage.recipe.graph import life
from tutelage.store.errors import ConfigError

RECIPES = Path(__file__).parents[2] / "recipes"
PLACE = tempfile.TemporaryDirectory()  # as long as the tests run
PAIRS = Path(PLACE.name) / "pairs.jsonl"
PAIRS.write_text("".join(f'{{"prompt": "Q{i}", "chosen": "yes", "rejected": "no"}}\n' for i in range(9)))
MARKED = Path(PLACE.name) / "marked.jsonl"
MARKED.write_text(
    "".join(f'{{"prompt": "### Instruction: {i} and {i}", "response": "It is {2 * i}.</s>"}}\n' for i in range(9))
)
TEXTS = Path(PLACE.name) / "texts"
TEXTS.mkdir()
ROWS = TEXTS / "rows.jsonl"
ROWS.write_text(
    "".join(
        f'{{"prompt": "What is {i} and {i}?", "response": "It is {2 * i}, as one can count."}}\n' for i in range(90)
    )
)


class Fixed(Idle):
    """A machine of known rates, so that no test depends on this one."""

    def training_seconds_per_token(self, model: Any, context: int, settings: Any, *_: Any) -> float:
        return 1e-10 * model.hidden_size**2 * model.num_layers

    def scoring_seconds_per_token(self, model: Any) -> float:
        return 1e-5

    def decoding_seconds_per_token(self, model: Any) -> float:
        return 1e-4

    def bytes_per_second(self) -> float:
        return 1e9

    def slowness(self) -> float:
        return 1.0

    def process_memory(self) -> float:
        return 5e8


def asked(recipe: Recipe) -> list[Advice]:
    nodes = life(recipe)
    return advise(nodes, look_ahead(nodes, {node.name for node in nodes}, {}, Fixed()))


def loud(recipe: Recipe) -> list[Advice]:
    return [item for item in asked(recipe) if item.level in ("warning", "error")]


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_draw_no_warning(path: Path) -> None:
    assert loud(load_recipe(path)) == []


def test_every_fact_that_a_rule_wants_is_given_by_some_spec() -> None:
    """A rule that waits for a fact nobody gives can never fire."""
    missing: dict[str, set[str]] = {}
    for recipe in (load_recipe(None), load_recipe(RECIPES / "adopt.yaml"), load_recipe(RECIPES / "reinforce.yaml")):
        nodes = life(recipe)
        outlook = look_ahead(nodes, {node.name for node in nodes}, {}, Fixed())
        for node in nodes:
            facts = facts_of(node, outlook, nodes)
            for rule in node.spec.rules():
                lacking = {name for name in rule.wants if name not in facts}
                missing[rule.id] = missing.get(rule.id, lacking) & lacking
    assert len(missing) >= 24 and not {rule: names for rule, names in missing.items() if names}


ADAPTED = "finetune.adapted={method: instruct, task: docstrings, lora: {rank: 16}, training: {optimizer: adamw}}"
SOLVE = ["finetune.solve.method=reinforce", "finetune.solve.from=instruct", "finetune.solve.task=sorting"]
FIRES: list[tuple[str, Sequence[str]]] = [
    ("tokens-per-parameter", ["pretrain.training.steps=100"]),
    ("overtraining", ["pretrain.training.steps=200000"]),
    ("repetition", ["pretrain.training.steps=60000"]),
    ("learning-rate", ["pretrain.training.learning_rate=0.5"]),
    ("batch", ["pretrain.training.batch_rows=4096"]),
    ("beta2", ["pretrain.training.beta2=0.8"]),
    ("warmup", ["pretrain.training.warmup_steps=900"]),
    ("final-learning-rate", ["pretrain.training.final_fraction=0.5"]),
    ("decay", ["pretrain.training.schedule=wsd", "pretrain.training.decay_fraction=0.02"]),
    ("weight-decay", ["pretrain.training.weight_decay=2"]),
    ("grad-clip", ["pretrain.training.grad_clip=9"]),
    ("embedding-share", ["tokenizer.vocab_size=30000"]),
    ("vocabulary", ["tokenizer.vocab_size=8192", "model.tie_word_embeddings=true", "model.hidden_size=512"]),
    ("tying", ["model.hidden_size=640", "model.num_layers=8", "model.tie_word_embeddings=false"]),
    ("aspect", ["model.num_layers=40", "model.hidden_size=64"]),
    ("grouped-queries", ["model.num_heads=8", "model.num_kv_heads=8"]),
    ("context", ["pretrain.context_length=4096", "model.max_position_embeddings=4096"]),
    ("heldout", ["corpus.heldout=0.0005"]),
    ("prompts", ["evaluate.prompts=10"]),
    ("classifier-epochs", ["finetune.classify.training.epochs=40"]),
    (
        "adapters",
        [
            "model.hidden_size=1024",
            "model.intermediate_size=4096",
            "model.num_layers=16",
            "finetune.classify.max_per_label=40",
        ],
    ),
    (
        "qlora",
        [
            "model.hidden_size=16384",
            "model.intermediate_size=65536",
            "model.num_layers=80",
            "finetune.instruct.lora={rank: 16}",
            "finetune.instruct.training.optimizer=adamw",
        ],
    ),
    ("instruct-epochs", ["finetune.instruct.training.epochs=12"]),
    ("instruct-learning-rate", ["finetune.instruct.training.learning_rate=0.02"]),
    ("instruct-rows", ["finetune.instruct.max_rows=40"]),
    ("preference-learning-rate", ["finetune.prefer.training.learning_rate=0.01"]),
    ("beta", ["finetune.prefer.beta=40"]),
    ("preference-epochs", ["finetune.prefer.training.epochs=9"]),
    ("drift", ["finetune.prefer.drift_prompts=0"]),
    ("preference-pairs", ["finetune.prefer.pairs.prompts=20"]),
    ("group-size", [*SOLVE, "finetune.solve.num_generations=2"]),
    ("rollout-temperature", [*SOLVE, "finetune.solve.temperature=0.2"]),
    ("kl-weight", [*SOLVE, "finetune.solve.beta=0.5"]),
    ("rollout-reuse", [*SOLVE, "finetune.solve.updates_per_rollout=20"]),
    ("reinforcement-learning-rate", [*SOLVE, "finetune.solve.training.learning_rate=0.02"]),
    ("further-replay", ["finetune.further={method: further, replay: {share: 0}}"]),
    ("further-decay", ["finetune.further={method: further, training: {final_fraction: 0.5}}"]),
    ("further-epochs", ["finetune.further={method: further, training: {epochs: 20}}"]),
    ("further-learning-rate", ["finetune.further={method: further, training: {learning_rate: 0.05}}"]),
    ("judged-balance", ["finetune.prefer.loss=kto", "finetune.prefer.desirable_weight=5"]),
    ("vocabulary-text", ["tokenizer.vocab_size=60000"]),
    ("bootstrap", ["evaluate.bootstrap=100"]),
    ("heldout-text", ["evaluate.heldout_documents=40"]),
    ("lora-targets", [ADAPTED.replace("rank: 16", "rank: 16, targets: [q_proj, v_proj]")]),
    ("lora-batch", [ADAPTED.replace("optimizer: adamw", "optimizer: adamw, batch_rows: 128")]),
    ("lora-alpha", [ADAPTED.replace("rank: 16", "rank: 16, alpha: 256")]),
    ("finetune-warmup", ["finetune.prefer.training.warmup_steps=5000"]),
    (
        "large-model-rate",
        ["model.hidden_size=1024", "model.intermediate_size=4096", "model.num_layers=16"],
    ),
    ("stop-as-text", [f"finetune.chat={{method: instruct, data: {MARKED}}}"]),
    ("template-as-text", [f"finetune.chat={{method: instruct, data: {MARKED}}}"]),
    ("test-in-corpus", [f"corpus.source={TEXTS}", f"finetune.chat={{method: instruct, data: {ROWS}}}"]),
    ("reward-epochs", [f"finetune.judge={{method: reward, from: base, data: {PAIRS}, training: {{epochs: 7}}}}"]),
    ("reward-pairs", [f"finetune.judge={{method: reward, from: base, data: {PAIRS}}}"]),
]


@pytest.mark.parametrize(("rule", "sets"), FIRES, ids=[rule for rule, _ in FIRES])
def test_it_fires_and_says_number_source_and_fix(rule: str, sets: Sequence[str]) -> None:
    found = [item for item in asked(load_recipe(None, list(sets))) if item.rule == rule]
    assert found, rule
    assert re.search(r"\d", found[0].message) and found[0].source


def test_every_rule_has_a_case_here() -> None:
    assert {rule for rule, _ in FIRES} == {rule.id for _, rule in every_rule()}


@pytest.mark.parametrize(("rule", "sets"), FIRES, ids=[rule for rule, _ in FIRES])
def test_it_goes_by_the_facts_it_names_and_is_silent_without_any_of_them(rule: str, sets: Sequence[str]) -> None:
    nodes = life(load_recipe(None, list(sets)))
    outlook = look_ahead(nodes, {node.name for node in nodes}, {}, Fixed())
    fired = 0
    for node in nodes:
        for one in node.spec.rules():
            facts = facts_of(node, outlook, nodes)
            if one.id != rule or (finding := one.check(facts)) is None:
                continue
            fired += 1
            named = {name: facts[name] for name in one.wants}
            assert one.check(named) == finding  # it reads no fact beside those it names
            for name in one.wants:
                assert one.check({key: value for key, value in named.items() if key != name}) is None
    assert fired


def test_the_default_recipe_draws_one_note_and_its_fix_ends_it() -> None:
    """Two pieces of advice used to chase each other here: more steps, then fewer passes over the text."""
    recipe = load_recipe(None)
    assert [(item.rule, item.level) for item in asked(recipe)] == [("tokens-per-parameter", "note")]
    longer = applied(recipe, asked(recipe))
    assert longer.pretrain is not None and longer.pretrain.training.steps > 3000
    assert not [item for item in asked(longer) if item.fix]


def applied(recipe: Recipe, items: Sequence[Advice]) -> Recipe:
    """The recipe with every fix, one after the other."""
    from tutelage.recipe.config import override

    data = recipe.plain()
    for item in items:
        for fix in re.findall(r"--set (\S+=\{[^}]*\}|\S+)", item.fix):
            override(data, fix)
    return Recipe.parse(data)


CHANGES = st.lists(
    st.sampled_from(
        [change for _, sets in FIRES for change in sets if "hidden_size=1024" not in change and ".solve." not in change]
    ),
    max_size=4,
    unique_by=lambda change: change.split("=")[0],
)


@pytest.mark.parametrize("which", [asked, loud])
@settings(max_examples=25, deadline=None)
@given(sets=CHANGES)
def test_all_fixes_together_are_a_fixed_point(which: Callable[[Recipe], list[Advice]], sets: list[str]) -> None:
    """Applied again and again, they end: no piece of advice undoes another. What is left has no fix."""
    try:
        recipe = load_recipe(None, list(sets))
    except ConfigError:  # changes that contradict each other
        return
    for _ in range(8):
        better = applied(recipe, which(recipe))
        if better == recipe:
            break
        recipe = better
    assert [item for item in which(recipe) if item.fix] == []


def test_a_fact_that_is_not_known_makes_the_rule_silent() -> None:
    nodes = life(load_recipe(None, ["pretrain.training.learning_rate=0.5"]))
    nothing = look_ahead([], set(), {}, Fixed())
    assert "learning-rate" not in {item.rule for item in advise(nodes, nothing)}


def test_an_adopted_model_is_not_told_how_to_be_pretrained() -> None:
    rules = {item.rule for item in asked(load_recipe(RECIPES / "adopt.yaml"))}
    assert not rules & {"tokens-per-parameter", "learning-rate", "aspect", "tying", "instruct-learning-rate"}


def test_the_documentation_lists_every_rule_as_it_is() -> None:
    text = (RECIPES.parent / "docs" / "guidance.md").read_text(encoding="utf-8")
    for kind, rule in every_rule():
        assert f"| `{rule.id}` | {kind} | {rule.says} | {rule.source} |" in text
