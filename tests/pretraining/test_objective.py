"""Documents become examples that predict each token exactly once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tutelage.pretraining.objective import document_examples, pack_documents


@given(st.lists(st.lists(st.integers(1, 9), max_size=40), min_size=1, max_size=5), st.integers(1, 16))
def test_each_token_and_each_end_is_predicted_once(documents: list[list[int]], length: int) -> None:
    examples = document_examples(documents, 0, length)
    predicted = [target for example in examples for target in example.segments[0].targets]
    assert predicted == [token for document in documents for token in [*document, 0]]
    for example in examples:
        (segment,) = example.segments
        assert len(segment.tokens) <= length and list(segment.tokens[1:]) == list(segment.targets[:-1])


def test_a_document_that_fills_its_rows_leaves_no_empty_piece_and_what_is_left_is_padding() -> None:
    assert [example.length for example in document_examples([[1, 2, 3], [1, 2, 3, 4]], 7, 2)] == [2, 2, 2, 2, 1]
    rows = pack_documents([[1, 2, 3]], 7, 6)
    assert rows.tokens.tolist() == [[7, 1, 2, 3, 7, 7]] and rows.targets.tolist() == [[1, 2, 3, 7, 0, 0]]
    assert rows.documents.tolist() == [[1, 1, 1, 1, 0, 0]] and rows.weights.tolist() == [[1, 1, 1, 1, 0, 0]]
