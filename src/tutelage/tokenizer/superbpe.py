"""SuperBPE, experimental (Liu et al. 2025): byte-pair encoding whose last merges cross words.

The first stage is BPE within words, for most of the vocabulary; the second continues within lines. Texts become shorter
in tokens, but each token is harder to predict: only training a model shows whether the trade is worthwhile.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from tokenizers import Regex, models, pre_tokenizers
from tokenizers import Tokenizer as Library

from tutelage.store.events import EventLog
from tutelage.tokenizer.building import bounded, byte_level, no_text
from tutelage.tokenizer.config import TokenizerConfig
from tutelage.tokenizer.extend import Pairs
from tutelage.tokenizer.vocabulary import byte_characters

WITHIN_WORDS = 0.8  # of the vocabulary
_LINES = r"[^\r\n]+|[\r\n]+"
_MOST_WORDS = 4  # in a token, as in the paper
_MIN_COUNT = 8
_MOST_BYTES = 2_000_000  # of text for the second stage, which keeps every line in memory
_SPACE = byte_characters()[ord(" ")]
_DIGITS = frozenset("0123456789")


def train_superbpe(
    config: TokenizerConfig,
    texts: Iterator[str],
    log: EventLog,
    train_bpe: Callable[[TokenizerConfig, Iterator[str], EventLog], Library],
) -> Library:
    """Both stages on the same texts, which are kept in memory."""
    whole = [text for text in texts if text]
    if not whole:
        raise no_text()
    first = config.with_(method="bpe", vocab_size=max(260, int(WITHIN_WORDS * config.vocab_size)))
    library = train_bpe(first, iter(whole), log)
    model = json.loads(library.to_str())["model"]
    names = {index: token for token, index in model["vocab"].items()}
    lines = _lines(whole, log)
    pairs = Pairs([[token.id for token in library.model.tokenize(line)] for line in lines], list(lines.values()))
    vocabulary, merges = dict(model["vocab"]), [tuple(merge) for merge in model["merges"]]
    while len(vocabulary) < config.vocab_size and (pair := pairs.most_frequent(_MIN_COUNT)) is not None:
        left, right = (names[index] for index in pair)
        if left + right in vocabulary or not _may_join(left, right):
            pairs.leave_out(pair)
            continue
        index = len(vocabulary)
        vocabulary[left + right], names[index] = index, left + right
        merges.append((left, right))
        pairs.join(pair, index)
    return byte_level(models.BPE(vocab=vocabulary, merges=merges), _LINES)


def _lines(texts: list[str], log: EventLog) -> Counter[str]:
    """Lines of the texts as byte characters, in parts, with their counts."""
    to_bytes: Any = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_LINES), behavior="isolated"),
            bounded(),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    counts: Counter[str] = Counter()
    size = 0
    for done, text in enumerate(texts, 1):
        counts.update(line for line, _ in to_bytes.pre_tokenize_str(text))
        size += len(text)
        if size > _MOST_BYTES and done < len(texts):
            log.note(f"merges across words are learned from the first {done:,} of {len(texts):,} documents (2 MB)")
            break
    return Counter(dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))))


def _may_join(left: str, right: str) -> bool:
    """A token has at most four words, and numbers stay cut as the split cuts them."""
    if left[-1] in _DIGITS and right[0] in _DIGITS:
        return False
    return (left + right).strip(_SPACE).count(_SPACE) < _MOST_WORDS
