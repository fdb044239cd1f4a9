"""Training a tokenizer: one function per method, all with the same control tokens and file format."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Library

from tutelage.store.errors import ConfigError, InputError
from tutelage.store.events import EventLog
from tutelage.tokenizer.config import SPECIAL_TOKENS, Split, TokenizerConfig
from tutelage.tokenizer.template import CHATML
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.tokenizer.unigram import train_unigram
from tutelage.tokenizer.vocabulary import byte_characters

SPLITS: dict[Split, str] = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "cl100k": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "o200k": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
"""Patterns as in the published tokenizer.json of GPT-2, Llama 3, Qwen 2 and GPT-4o."""

UNKNOWN = "<unk>"
LONGEST_PIECE = 512
"""Characters; training by pairs learns from longer pieces in parts of this length."""
_ALPHABET = list(byte_characters().values())


def train(config: TokenizerConfig, texts: Iterable[str], log: EventLog, total_bytes: int = 0) -> Tokenizer:
    """Train on texts; equal texts in equal order give byte-identical files.

    Raises InputError without text, ConfigError for a vocabulary whose size is still to be chosen (`config.sized`).
    `total_bytes` of the texts, where known, serves the progress only.
    """
    if not config.vocab_size and config.method != "byte":
        raise ConfigError("vocab_size is 0: the text decides", hint="pass config.sized(BYTES OF THE TEXT)")
    watched = _watched(texts, total_bytes, log)
    if config.method == "byte":
        library = _byte_level(models.BPE(vocab=_numbered(_ALPHABET), merges=[]), None)
        if not any(text for text in watched):
            raise _no_text()
    else:
        library = {"bpe": _bpe, "unigram": _unigram, "wordpiece": _wordpiece, "char": _char}[config.method](
            config, watched, log
        )
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "eos_token": SPECIAL_TOKENS[0],
        "pad_token": SPECIAL_TOKENS[0],
        "unk_token": UNKNOWN if config.method == "wordpiece" else None,
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1_000_000_000,
    }
    made = Tokenizer(library.to_str(pretty=True) + "\n", settings, CHATML)
    if made.vocab_size < config.vocab_size and config.method not in ("byte", "char"):
        log.warn(f"the text yields {made.vocab_size} tokens only, {config.vocab_size} were asked for")
    return made


def is_lossless(config: TokenizerConfig) -> bool:
    return config.method != "wordpiece"


def _bpe(config: TokenizerConfig, texts: Iterator[str], log: EventLog) -> Library:
    """Byte-pair encoding (Sennrich et al. 2016) over bytes."""
    library = _byte_level(models.BPE(), config.chosen_split)
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=2,
        special_tokens=_special(),
        initial_alphabet=_ALPHABET,
        show_progress=False,
    )
    encoding = library.pre_tokenizer
    # Training takes time quadratic in a piece's length; encoding keeps the split without the bound.
    bound = pre_tokenizers.Split(Regex(rf"[\s\S]{{1,{LONGEST_PIECE}}}"), behavior="isolated")
    steps = [pre_tokenizers.Split(Regex(SPLITS[split]), behavior="isolated")] if (split := config.chosen_split) else []
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    library.pre_tokenizer = pre_tokenizers.Sequence([*steps, bound, to_bytes])
    library.train_from_iterator(_some(texts), trainer)
    library.pre_tokenizer = encoding
    return library


def _unigram(config: TokenizerConfig, texts: Iterator[str], log: EventLog) -> Library:
    """Unigram over bytes: vocabulary and scores by `tutelage.tokenizer.unigram`."""
    counts = _word_counts(_byte_level(models.BPE(), config.chosen_split), texts)
    size = config.vocab_size - len(SPECIAL_TOKENS)
    scored = train_unigram(
        counts, _ALPHABET, size, lambda done, total: log.progress("pruning pieces", done, total, "rounds")
    )
    return _byte_level(models.Unigram([*((token, 0.0) for token in SPECIAL_TOKENS), *scored]), config.chosen_split)


def _wordpiece(config: TokenizerConfig, texts: Iterator[str], log: EventLog) -> Library:
    """WordPiece (Schuster and Nakajima 2012; by pair counts). Lossy: white space, rare characters."""
    splitter = Library(models.BPE())
    splitter.pre_tokenizer = pre_tokenizers.Whitespace()
    counts = _word_counts(splitter, texts)
    characters: Counter[str] = Counter()
    later: set[str] = set()
    for word, count in counts.items():
        for char in word:
            characters[char] += count
        later.update(word[1:])
    ranked = sorted(characters, key=lambda char: (-characters[char], char))[: config.vocab_size // 4]
    # The library numbers "##x" pieces in hash order; handed over as special tokens, their ids are fixed.
    fixed = [
        *SPECIAL_TOKENS,
        UNKNOWN,
        *sorted(ranked),
        *(f"##{char}" for char in sorted(ranked) if char in later),
    ]
    learner = Library(models.WordPiece(unk_token=UNKNOWN))
    learner.pre_tokenizer = splitter.pre_tokenizer
    trainer = trainers.WordPieceTrainer(
        vocab_size=config.vocab_size,
        min_frequency=2,
        special_tokens=fixed,
        initial_alphabet=ranked,
        limit_alphabet=len(ranked),
        continuing_subword_prefix="##",
        show_progress=False,
    )
    parts = ((part, counts[word]) for word in sorted(counts) for part in _parts(word))
    learner.train_from_iterator((part for part, count in parts for _ in range(count)), trainer)
    library = Library(models.WordPiece(learner.get_vocab(), unk_token=UNKNOWN, continuing_subword_prefix="##"))
    library.pre_tokenizer = pre_tokenizers.Whitespace()
    library.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    library.add_special_tokens([*_special(), AddedToken(UNKNOWN, special=True, normalized=False)])
    return library


def _parts(word: str) -> list[str]:
    """A word in parts that are quick to learn from."""
    return [word[start : start + LONGEST_PIECE] for start in range(0, len(word), LONGEST_PIECE)]


def _char(config: TokenizerConfig, texts: Iterator[str], log: EventLog) -> Library:
    """The commonest characters, one token each; any other as its UTF-8 bytes."""
    characters: Counter[str] = Counter()
    for text in _some(texts):
        characters.update(text)
    ranked = sorted(characters, key=lambda char: (-characters[char], char))
    room = config.vocab_size - len(SPECIAL_TOKENS) - 256
    vocabulary = _numbered([*(f"<0x{byte:02X}>" for byte in range(256)), *ranked[:room]])
    library = Library(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True))
    library.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    library.add_special_tokens(_special())
    return library


def _byte_level(model: Any, split: Split | None) -> Library:
    library = Library(model)
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    steps = [pre_tokenizers.Split(Regex(SPLITS[split]), behavior="isolated")] if split else []
    library.pre_tokenizer = pre_tokenizers.Sequence([*steps, to_bytes])
    library.decoder = decoders.ByteLevel()
    if library.get_vocab_size():
        library.add_special_tokens(_special())
    return library


def _special() -> list[AddedToken]:
    return [AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]


def _numbered(tokens: Iterable[str]) -> dict[str, int]:
    return {token: index for index, token in enumerate([*SPECIAL_TOKENS, *tokens])}


def _word_counts(splitter: Library, texts: Iterator[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for text in _some(texts):
        counts.update(word for word, _ in splitter.pre_tokenizer.pre_tokenize_str(text))
    if not counts:
        raise _no_text()
    return counts


def _some(texts: Iterator[str]) -> Iterator[str]:
    """The texts that are not empty; an error if there is none."""
    none = True
    for text in texts:
        if text:
            none = False
            yield text
    if none:
        raise _no_text()


def _no_text() -> InputError:
    return InputError("there is no text to train a tokenizer on", hint="the corpus is empty")


def _watched(texts: Iterable[str], total: int, log: EventLog) -> Iterator[str]:
    done, last = 0, time.monotonic()
    for text in texts:
        yield text
        done += len(text.encode("utf-8", "replace")) if total else len(text)
        if time.monotonic() - last > 0.3:
            last = time.monotonic()
            log.progress("reading text", done, max(total, done), "bytes")
    log.progress("reading text", done, max(total, done), "bytes")
