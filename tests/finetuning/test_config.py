from __future__ import annotations

import pytest

from tutelage.finetuning import method, method_names
from tutelage.finetuning.prefer.config import PreferConfig
from tutelage.store.errors import ConfigError
from tutelage.training.config import TrainingConfig

ROWS = {"data": "mine.jsonl"}


def test_part_of_training_keeps_the_rest_of_the_methods_defaults():
    config = PreferConfig.parse({**ROWS, "training": {"learning_rate": 5e-5}})
    assert config.training.learning_rate == 5e-5
    assert config.training.epochs == PreferConfig.parse(ROWS).training.epochs != TrainingConfig().epochs


@pytest.mark.parametrize("name", method_names())
def test_plain_data_parse_back_to_the_same_config(name):
    kind = method(name).config
    config = kind.parse(ROWS)
    assert kind.parse(config.plain()) == config


def test_text_may_come_from_the_corpus_instead_of_a_file():
    spec = method("further")
    assert spec.needs(spec.config.parse({})) == ("model", "corpus")
    assert spec.needs(spec.config.parse(ROWS)) == ("model",)
    assert [part.role for part in spec.parts(spec.config.parse({}))] == ["sampled"]


@pytest.mark.parametrize("name", [name for name in method_names() if method(name).heldout != "texts"])
def test_rows_must_come_from_somewhere(name):
    with pytest.raises(ConfigError, match="to learn from"):
        method(name).config.parse({}, f"finetune.{name}")


@pytest.mark.parametrize("name", method_names())
@pytest.mark.parametrize(("parameters", "rows"), [(1_000_000, 20), (135_000_000, 20), (135_000_000, 50_000)])
def test_suggested_settings_are_settings(name, parameters, rows):
    spec = method(name)
    ways = spec.suggest(parameters, rows)
    assert any(way.default for way in ways.values())
    for way in ways.values():
        spec.config.parse({**{key: value for key, value in way.settings.items() if key != "from"}, **ROWS})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"betta": 1}, "did you mean 'beta'"),
        ({"training": {"learning_rat": 1}}, "did you mean 'learning_rate'"),
        ({"beta": 0}, "beta"),
        ({"loss": "ipo", "label_smoothing": 0.1}, "label_smoothing"),
        ({"task": "docstring"}, "did you mean 'docstrings'"),
    ],
)
def test_wrong_settings_are_named(data, said):
    with pytest.raises(ConfigError, match=said):
        PreferConfig.parse({**ROWS, **data}, "finetune.prefer")


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("classify", {"task": "docstrings"}, "has answers, but this method requires labels"),
        ("instruct", {"task": "labels"}, "has labels, but this method requires answers"),
    ],
)
def test_a_task_that_a_method_cannot_use_is_refused(name, data, said):
    with pytest.raises(ConfigError, match=said):
        method(name).config.parse(data, f"finetune.{name}")
