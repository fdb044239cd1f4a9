"""How much of each source: by size, by weight, by temperature, and no source too often."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.corpus.document import Document, document_id, write_documents
from tutelage.pretraining.config import PretrainConfig
from tutelage.pretraining.mixing import mix_of
from tutelage.pretraining.stage import mixed, sources_of
from tutelage.store.errors import ConfigError
from tutelage.store.events import EventLog
from tutelage.tokenizer.config import TokenizerConfig
from tutelage.tokenizer.train import train

ROWS = {"large": 800, "small": 200}


def test_by_size_weight_and_temperature() -> None:
    assert mix_of(ROWS, {}, 1.0, 4, 1000).shares == pytest.approx({"large": 0.8, "small": 0.2})
    assert mix_of(ROWS, {"small": 4.0}, 1.0, 4, 1000).shares == pytest.approx({"large": 0.5, "small": 0.5})
    assert mix_of(ROWS, {"small": 0.0}, 1.0, 4, 1000).shares == {"large": 1.0, "small": 0.0}
    warm = mix_of(ROWS, {}, 2.0, 4, 100).shares
    assert warm["small"] == pytest.approx(200**0.5 / (200**0.5 + 800**0.5))


def test_a_source_is_held_at_its_passes_and_the_rest_goes_to_others() -> None:
    mix = mix_of(ROWS, {"small": 16.0}, 1.0, 4, 2000)
    assert mix.capped == ("small",)
    assert mix.passes(ROWS, 2000) == {"large": 1.5, "small": 4.0}


def test_where_all_are_exceeded_every_source_is_repeated_equally() -> None:
    mix = mix_of(ROWS, {"small": 9.0}, 1.0, 4, 8000)
    assert mix.exceeded
    assert mix.passes(ROWS, 8000) == {"large": 8.0, "small": 8.0}


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 500), min_size=1),
    st.floats(0.5, 10),
    st.floats(0.5, 8),
    st.integers(1, 5000),
)
def test_shares_add_up_and_hold_the_limit(rows: dict[str, int], heat: float, most: float, samples: int) -> None:
    mix = mix_of(rows, {}, heat, most, samples)
    assert sum(mix.shares.values()) == pytest.approx(1)
    if not mix.exceeded:
        assert all(times <= most * 1.001 for times in mix.passes(rows, samples).values())


def test_wrong_names_are_said() -> None:
    with pytest.raises(ConfigError, match="no source 'smal'") as caught:
        mix_of(ROWS, {"smal": 2.0}, 1.0, 4, 100)
    assert "small" in str(caught.value.hint)
    with pytest.raises(ConfigError, match="every source"):
        mix_of(ROWS, dict.fromkeys(ROWS, 0.0), 1.0, 4, 100)
    with pytest.raises(ConfigError, match="is negative"):
        PretrainConfig.parse({"mix": {"weights": {"a": -1}}})
    with pytest.raises(ConfigError, match="one of them"):
        PretrainConfig.parse({"mix": {}, "mixture": [{"corpus": "a", "weight": 1}]})


def test_rows_of_a_corpus_come_by_their_labels(tmp_path: Path) -> None:
    def document(label: str | None, number: int) -> Document:
        text = f"{label} {number} " * 12
        return Document(document_id("s", None, text), text, "s", label=label)

    documents = [
        document(label, number) for label, count in (("a", 30), ("b", 10), (None, 5)) for number in range(count)
    ]
    write_documents(tmp_path / "train.parquet", documents)
    tok = train(TokenizerConfig(method="byte", vocab_size=259), ["text"], EventLog())
    config = PretrainConfig.parse(
        {"context_length": 64, "mix": {"weights": {"b": 3.0, "": 0}}, "training": {"steps": 5, "batch_rows": 4}}
    )
    assert config.mix and sources_of(tmp_path, "label") == ["", "a", "b"]
    made = mixed(tmp_path, tok, config, config.mix, tmp_path, EventLog())
    assert made.names == ["a", "b"]
    assert made.weights[1] == pytest.approx(0.5, abs=0.05)
    text = tok.decode([int(token) for token in made.parts[1].batch(np.arange(2)).tokens.flatten()])
    assert "b " in text and "a " not in text
