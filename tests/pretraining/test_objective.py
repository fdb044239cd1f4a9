"""Documents become examples that predict each token exactly once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tutelage.pretraining.objective import document_examples


@given(st.lists(st.lists(st.integers(1, 9), max_size=40), min_size=1, max_size=5), st.integers(1, 16))
def test_each_token_and_each_end_is_predicted_once(documents: list[list[int]], length: int) -> None:
    examples = document_examples(documents, 0, length)
    predicted = [target for example in examples for target in example.segments[0].targets]
    assert predicted == [token for document in documents for token in [*document, 0]]
    for example in examples:
        (segment,) = example.segments
        assert len(segment.tokens) <= length and list(segment.tokens[1:]) == list(segment.targets[:-1])
