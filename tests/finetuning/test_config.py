from __future__ import annotations

import pytest

from tutelage.finetuning.config import ClassifyConfig, FinetuneConfig, InstructConfig, PreferConfig
from tutelage.store.errors import ConfigError
from tutelage.training.config import TrainingConfig


def test_part_of_training_keeps_the_rest_of_the_stage_defaults():
    config = FinetuneConfig.parse({"prefer": {"training": {"learning_rate": 5e-5}}})
    assert config.prefer.training.learning_rate == 5e-5
    assert config.prefer.training.epochs == PreferConfig().training.epochs != TrainingConfig().epochs


@pytest.mark.parametrize("config", [FinetuneConfig(), ClassifyConfig(), InstructConfig(), PreferConfig()])
def test_plain_data_parse_back_to_the_same_config(config):
    assert type(config).parse(config.plain()) == config


def test_null_means_not_wanted():
    config = FinetuneConfig.parse({"classify": None, "prefer": None, "instruct": None})
    assert config.classify is config.prefer is config.instruct is None


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"prefer": {"betta": 1}}, "did you mean 'beta'"),
        ({"prefer": {"training": {"learning_rat": 1}}}, "did you mean 'learning_rate'"),
        ({"prefer": {"beta": 0}}, "beta"),
        ({"prefer": {"loss": "ipo", "label_smoothing": 0.1}}, "label_smoothing"),
    ],
)
def test_wrong_settings_are_named(data, said):
    with pytest.raises(ConfigError, match=said):
        FinetuneConfig.parse(data, "finetune")
