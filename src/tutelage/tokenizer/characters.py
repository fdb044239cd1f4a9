"""Methods whose pieces are characters and words, not bytes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Library

from tutelage.store.events import EventLog
from tutelage.tokenizer.building import (
    BYTES,
    UNKNOWN,
    bounded,
    numbered,
    pattern_of,
    ranked_characters,
    repeated,
    some,
    special,
    splitter,
    word_counts,
)
from tutelage.tokenizer.config import SPECIAL_TOKENS, TokenizerConfig


def train_wordpiece(config: TokenizerConfig, texts: Iterator[str], log: EventLog) -> Library:
    """WordPiece (Schuster and Nakajima 2012; by pair counts). Lossy: white space, rare characters."""
    whitespace = pre_tokenizers.Whitespace()
    counts = word_counts(whitespace, texts)
    later = {char for word in counts for char in word[1:]}
    ranked = ranked_characters(counts)[: config.vocab_size // 4]
    # The library numbers "##x" pieces in hash order; handed over as special tokens, their ids are fixed.
    fixed = [
        *SPECIAL_TOKENS,
        UNKNOWN,
        *sorted(ranked),
        *(f"##{char}" for char in sorted(ranked) if char in later),
    ]
    learner = Library(models.WordPiece(unk_token=UNKNOWN))
    learner.pre_tokenizer = whitespace
    trainer = trainers.WordPieceTrainer(
        vocab_size=config.vocab_size,
        min_frequency=2,
        special_tokens=fixed,
        initial_alphabet=ranked,
        limit_alphabet=len(ranked),
        continuing_subword_prefix="##",
        show_progress=False,
    )
    learner.train_from_iterator(repeated(counts), trainer)
    library = Library(models.WordPiece(learner.get_vocab(), unk_token=UNKNOWN, continuing_subword_prefix="##"))
    library.pre_tokenizer = whitespace
    library.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    library.add_special_tokens([*special(), AddedToken(UNKNOWN, special=True, normalized=False)])
    return library


def train_word(config: TokenizerConfig, texts: Iterator[str], log: EventLog) -> Library:
    """The commonest words and signs, one token each. Lossy: white space, and every rarer word is unknown."""
    whitespace = pre_tokenizers.Whitespace()
    counts = word_counts(whitespace, texts)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    room = config.vocab_size - len(SPECIAL_TOKENS) - 1
    vocabulary = numbered([UNKNOWN, *(word for word in ranked if word != UNKNOWN)][: room + 1])
    library = Library(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    library.pre_tokenizer = whitespace
    library.add_special_tokens([*special(), AddedToken(UNKNOWN, special=True, normalized=False)])
    return library


def train_char(config: TokenizerConfig, texts: Iterator[str], log: EventLog) -> Library:
    """The commonest characters, one token each; any other as its UTF-8 bytes."""
    characters: Counter[str] = Counter()
    for text in some(texts):
        characters.update(text)
    ranked = sorted(characters, key=lambda char: (-characters[char], char))
    room = config.vocab_size - len(SPECIAL_TOKENS) - 256
    return _with_bytes(numbered([*BYTES, *ranked[:room]]), [], None)


def train_bpe_fallback(config: TokenizerConfig, texts: Iterator[str], log: EventLog) -> Library:
    """Byte-pair encoding over characters, with byte fallback for rare ones (Kudo & Richardson 2018).

    Characters take at most half of the vocabulary, so that scripts with thousands of them leave room for merges.
    """
    pattern = pattern_of(config)
    cut = pre_tokenizers.Sequence([*splitter(pattern), bounded()])
    counts = word_counts(cut, texts)
    room = config.vocab_size - len(SPECIAL_TOKENS) - len(BYTES)
    ranked = ranked_characters(counts)[: max(1, room // 2)]
    learner = Library(models.BPE())
    learner.pre_tokenizer = cut
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=2,
        special_tokens=[*SPECIAL_TOKENS, *BYTES],
        initial_alphabet=ranked,
        limit_alphabet=len(ranked),
        show_progress=False,
    )
    learner.train_from_iterator(repeated(counts), trainer)
    learned = json.loads(learner.to_str())["model"]
    names = set(BYTES)  # a text that spells such a name must not become the byte
    merges = [tuple(merge) for merge in learned["merges"] if names.isdisjoint([*merge, "".join(merge)])]
    return _with_bytes(learned["vocab"], merges, pattern)


def _with_bytes(vocabulary: dict[str, int], merges: list[tuple[str, str]], pattern: str | None) -> Library:
    """A tokenizer of characters and their merges that writes what it does not know as bytes."""
    library = Library(models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True))
    if steps := splitter(pattern):
        library.pre_tokenizer = pre_tokenizers.Sequence(steps)
    library.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    library.add_special_tokens(special())
    return library
