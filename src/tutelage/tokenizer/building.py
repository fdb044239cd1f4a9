"""What the training methods share: splits, control tokens, counts of words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from tokenizers import AddedToken, Regex, decoders, pre_tokenizers
from tokenizers import Tokenizer as Library

from tutelage.store.errors import InputError
from tutelage.tokenizer.config import SPECIAL_TOKENS, Split, TokenizerConfig
from tutelage.tokenizer.definition import byte_characters

_CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITS: dict[Split, str] = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "cl100k": _CL100K.format(digits=r"\p{N}{1,3}"),
    "digits2": _CL100K.format(digits=r"\p{N}{1,2}"),
    "qwen2": _CL100K.format(digits=r"\p{N}"),
    "o200k": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
"""Patterns as in the published tokenizer.json of GPT-2, Llama 3, Qwen 2 and GPT-4o; digits2 as in nanochat."""

UNKNOWN = "<unk>"
LONGEST_PIECE = 512
"""Characters; training by pairs learns from longer pieces in parts of this length."""
ALPHABET = list(byte_characters().values())
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
"""Bytes as tokens of vocabularies of characters."""


def pattern_of(config: TokenizerConfig) -> str | None:
    """The regular expression that cuts text into words; None where nothing does."""
    if not config.splits:
        return None
    return config.pattern or SPLITS[config.split or "qwen2"]


def splitter(pattern: str | None) -> list[Any]:
    """Pre-tokenizer steps that split by a pattern; none without a pattern."""
    return [pre_tokenizers.Split(Regex(pattern), behavior="isolated")] if pattern else []


def bounded() -> Any:
    """A step that cuts long pieces: training takes time quadratic in a piece's length."""
    return pre_tokenizers.Split(Regex(rf"[\s\S]{{1,{LONGEST_PIECE}}}"), behavior="isolated")


def byte_level(model: Any, pattern: str | None, controls: bool = True) -> Library:
    """A byte-level tokenizer that splits by the pattern, with the control tokens if the model has a vocabulary."""
    library = Library(model)
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    library.pre_tokenizer = pre_tokenizers.Sequence([*splitter(pattern), to_bytes])
    library.decoder = decoders.ByteLevel()
    if controls and library.get_vocab_size():
        library.add_special_tokens(special())
    return library


def special() -> list[AddedToken]:
    return [AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]


def numbered(tokens: Iterable[str]) -> dict[str, int]:
    """Ids of the control tokens and, after them, of these."""
    return {token: index for index, token in enumerate([*SPECIAL_TOKENS, *tokens])}


def ranked_characters(counts: Counter[str]) -> list[str]:
    """The characters of counted words, the commonest first, equal ones by code point."""
    characters: Counter[str] = Counter()
    for word, count in counts.items():
        for char in word:
            characters[char] += count
    return sorted(characters, key=lambda char: (-characters[char], char))


def word_counts(pre_tokenizer: Any, texts: Iterator[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for text in some(texts):
        counts.update(word for word, _ in pre_tokenizer.pre_tokenize_str(text))
    if not counts:
        raise no_text()
    return counts


def parts(word: str) -> list[str]:
    """A word in parts that are quick to learn from."""
    return [word[start : start + LONGEST_PIECE] for start in range(0, len(word), LONGEST_PIECE)]


def repeated(counts: Counter[str]) -> Iterator[str]:
    """Every word as often as it was counted, in an order that does not depend on the texts."""
    for word in sorted(counts):
        for part in parts(word):
            for _ in range(counts[word]):
                yield part


def some(texts: Iterator[str]) -> Iterator[str]:
    """The texts that are not empty. Raises InputError if there is none."""
    none = True
    for text in texts:
        if text:
            none = False
            yield text
    if none:
        raise no_text()


def no_text() -> InputError:
    return InputError(
        "there is no text to train a tokenizer on", hint="the corpus is empty or contains only white space"
    )
