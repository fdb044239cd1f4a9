"""Training a tokenizer: one function per method, all with the same control tokens and file format."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from tokenizers import Tokenizer as Library
from tokenizers import models, pre_tokenizers, trainers

from tutelage.store.errors import ConfigError, InputError
from tutelage.store.events import EventLog
from tutelage.tokenizer.building import (
    ALPHABET,
    UNKNOWN,
    bounded,
    byte_level,
    no_text,
    numbered,
    pattern_of,
    some,
    special,
    splitter,
    word_counts,
)
from tutelage.tokenizer.building import LONGEST_PIECE as LONGEST_PIECE
from tutelage.tokenizer.building import SPLITS as SPLITS
from tutelage.tokenizer.bulk import readable
from tutelage.tokenizer.characters import train_bpe_fallback, train_char, train_word, train_wordpiece
from tutelage.tokenizer.config import SPECIAL_TOKENS, TokenizerConfig
from tutelage.tokenizer.superbpe import train_superbpe
from tutelage.tokenizer.template import CHATML
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.tokenizer.unigram import train_unigram

Method = Callable[[TokenizerConfig, Iterator[str], EventLog], Library]


def train(config: TokenizerConfig, texts: Iterable[str], log: EventLog, total_bytes: int = 0) -> Tokenizer:
    """Train on texts; equal texts in equal order give byte-identical files.

    Raises InputError without text and for invalid Unicode, ConfigError if the vocabulary size is not chosen yet
    (`config.sized`). `total_bytes` of the texts, if known, is used only for progress.
    """
    if not config.vocab_size and config.method != "byte":
        raise ConfigError("vocab_size is 0: its size depends on the text", hint="pass config.sized(BYTES OF THE TEXT)")
    watched = _watched(texts, total_bytes, log)
    try:
        library = _METHODS[config.method](config, watched, log)
    except BaseException as error:
        raise readable(error) from None
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "eos_token": SPECIAL_TOKENS[0],
        "pad_token": SPECIAL_TOKENS[0],
        "unk_token": None if is_lossless(config) else UNKNOWN,
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1_000_000_000,
    }
    made = Tokenizer(library.to_str(pretty=True) + "\n", settings, CHATML)
    if made.vocab_size < config.vocab_size and config.method not in ("byte", "char"):
        log.warn(f"the text yields only {made.vocab_size} tokens of {config.vocab_size} requested")
    return made


def is_lossless(config: TokenizerConfig) -> bool:
    return config.method not in ("wordpiece", "word")


def _byte(config: TokenizerConfig, texts: Iterator[str], log: EventLog) -> Library:
    """The 256 bytes; nothing is trained."""
    if not any(texts):
        raise no_text()
    return byte_level(models.BPE(vocab=numbered(ALPHABET), merges=[]), None)


def _bpe(config: TokenizerConfig, texts: Iterator[str], log: EventLog) -> Library:
    """Byte-pair encoding (Sennrich et al. 2016) over bytes."""
    pattern = pattern_of(config)
    library = byte_level(models.BPE(), pattern)
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=2,
        special_tokens=special(),
        initial_alphabet=ALPHABET,
        show_progress=False,
    )
    encoding = library.pre_tokenizer  # keeps the split without the bound
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    library.pre_tokenizer = pre_tokenizers.Sequence([*splitter(pattern), bounded(), to_bytes])
    library.train_from_iterator(some(texts), trainer)
    library.pre_tokenizer = encoding
    return library


def _unigram(config: TokenizerConfig, texts: Iterator[str], log: EventLog) -> Library:
    """Unigram over bytes: vocabulary and scores by `tutelage.tokenizer.unigram`."""
    pattern = pattern_of(config)
    counts = word_counts(byte_level(models.BPE(), pattern).pre_tokenizer, texts)
    size = config.vocab_size - len(SPECIAL_TOKENS)
    scored = train_unigram(
        counts, ALPHABET, size, lambda done, total: log.progress("pruning pieces", done, total, "rounds")
    )
    return byte_level(models.Unigram([*((token, 0.0) for token in SPECIAL_TOKENS), *scored]), pattern)


def _superbpe(config: TokenizerConfig, texts: Iterator[str], log: EventLog) -> Library:
    return train_superbpe(config, texts, log, _bpe)


_METHODS: dict[str, Method] = {
    "bpe": _bpe,
    "unigram": _unigram,
    "wordpiece": train_wordpiece,
    "word": train_word,
    "byte": _byte,
    "char": train_char,
    "bpe_fallback": train_bpe_fallback,
    "superbpe": _superbpe,
}


def _watched(texts: Iterable[str], total: int, log: EventLog) -> Iterator[str]:
    done, last = 0, time.monotonic()
    for number, text in enumerate(texts):
        try:
            size = len(text.encode("utf-8"))
        except UnicodeEncodeError as error:
            raise InputError(
                f"text {number} to train on is not valid Unicode: lone surrogate at {error.start}"
            ) from None
        yield text
        done += size
        if time.monotonic() - last > 0.3:
            last = time.monotonic()
            log.progress("reading text", done, max(total, done), "bytes")
    log.progress("reading text", done, max(total, done), "bytes")
