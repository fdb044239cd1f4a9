"""Encoding of many texts at once, by the fastest library that gives the same ids.

What the ids are, `tokenizers` says. `fastokens` (byte pairs only) is many times as fast (docs/tokenizer.md), and others
wrote it after the same definition. So it is tried before it is trusted: on probes of many scripts, on the vocabulary's
own tokens, on names of control tokens, and on some of the texts that are to be encoded. One id that differs, or a
definition that it does not read, and `tokenizers` does the work; `Bulk.encoder` says who does it, and why.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from tutelage.store.errors import InputError

ENOUGH = 100_000
"""Characters of a batch from which on it is worth building and trying the faster encoder."""
_AT_ONCE = 4_000_000  # characters that `tokenizers` gets at a time: it holds far more than the ids of each text
_TRIED = 100_000  # characters of the texts that the encoder is tried on
_TOKENS = 8192  # of the vocabulary, likewise
_RANDOM = 500  # probes made up of pieces
_PIECES = (
    "abc", "ABC", " the", "The", "1", "42", "1234567", " 3.14", "'s", "'RE", "'ll", "n't", "\u017f", "\u212a", "\u1e9e",
    "\u00e9", "e\u0301", "naïve", "größe", "日本語", "中文", "한국어", "ไทยภาษา", "हिन्दी", "العربية", "עברית",
    "данные", "Ελλάδα", "\u0663\u0664\u0665", "½", "²", "😀", "👩\u200d👧", "🏳\ufe0f\u200d🌈", " ", "  ", "   \n",
    "\n", "\n\n", "\r\n", "\r", "\t", "\u00a0", "\u3000", "\u2028", "\u200b", "\ufeff", "\x00", "\x1b", "\x7f", "\x85",
    "\ufffd", "\U0010ffff", "!", "?!", "...", "(", "/", "\\", "_", "__init__", "#", "##", "▁", "Ġ", "<", ">", "<unk>",
    "<0x41>", "<s>", "</s>", "<|", "|>", "https://a.b/c?d=e&f",
)  # fmt: skip


@dataclass(frozen=True)
class Encoded:
    """Ids of several texts, one behind the other. ids [tokens], uint32; ends [texts]: where each text's ids end."""

    ids: NDArray[np.uint32]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Iterable[Sequence[int]]) -> Encoded:
        lists = list(texts)
        ids = np.fromiter((index for one in lists for index in one), np.uint32)
        return cls(ids, np.cumsum([len(one) for one in lists], dtype=np.int64))

    def __iter__(self) -> Iterator[list[int]]:
        begin = 0
        for end in self.ends.tolist():
            yield self.ids[begin:end].tolist()
            begin = end


class Bulk:
    """Encodes many texts with the ids of `library`, on all threads. May be shared between threads.

    `names`: of control tokens and of others that were added; they are among what the encoder is tried on.
    """

    def __init__(self, library: tokenizers.Tokenizer, names: Iterable[str] = ()) -> None:
        self._library, self._names = library, sorted(names)
        self._fast: Any = None
        self.slow_because: str | None = None
        """Why the faster library is not used; None where it is, or where no batch was large enough yet."""

    @property
    def encoder(self) -> str:
        """Who encodes, with the version, and why not the faster one: `fastokens 0.3.5`, or
        `tokenizers 0.23.3 (fastokens is not installed)`; where no batch was large enough yet, that."""
        if self._fast is not None:
            return f"fastokens {version('fastokens')}"
        return f"tokenizers {version('tokenizers')} ({self.slow_because or 'few texts'})"

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Ids of the texts; no token is added at either end. Raises what `tokenizers` raises for what is no text."""
        if self._fast is None and self.slow_because is None and sum(map(len, texts)) >= ENOUGH:
            self._choose(texts)
        fast = self._fast  # another thread may give it up meanwhile
        if fast is not None:
            try:
                return _by_fast(fast, texts)
            except UnicodeEncodeError:
                raise
            except ValueError as error:  # an expression that backtracks too far, say
                self._fast, self.slow_because = None, f"fastokens: {error}"
        return self._by_library(texts)

    def _choose(self, texts: Sequence[str]) -> None:
        some = list(self._probes())
        size = 0
        for text in texts:
            if size >= _TRIED:
                break
            some.append(text[: _TRIED - size])
            size += len(some[-1])
        fast, reason = _built(self._library.to_str())
        if fast is not None:
            reason = self._difference(fast, some)
        self._fast, self.slow_because = (None, reason) if reason else (fast, None)

    def _difference(self, fast: Any, texts: Sequence[str]) -> str | None:
        """What speaks against the faster encoder: the first text whose ids differ; None where there is none."""
        try:
            found = _by_fast(fast, texts)
        except UnicodeEncodeError:
            raise
        except ValueError as error:
            return f"fastokens: {error}"
        for text, one, other in zip(texts, found, self._by_library(texts), strict=True):
            if one != other:
                return f"fastokens gives other ids, e.g. of {json.dumps(text[:40])}"
        return None

    def _by_library(self, texts: Sequence[str]) -> Encoded:
        parts = [
            Encoded.of(one.ids for one in self._library.encode_batch_fast(list(some), add_special_tokens=False))
            for some in _portions(texts)
        ]
        before = np.cumsum([0, *(len(part.ids) for part in parts)])
        return Encoded(
            np.concatenate([np.zeros(0, np.uint32), *(part.ids for part in parts)]),
            np.concatenate([np.zeros(0, np.int64), *(part.ends + at for part, at in zip(parts, before, strict=False))]),
        )

    def _probes(self) -> Iterator[str]:
        yield from ("", *_PIECES, *self._names)
        yield from ("a" * 2000, " " * 2000, "ab " * 500, "é" * 500, "\n" * 500, "7" * 500)
        choose = random.Random(7)
        pieces = [*_PIECES, *self._names, *(f"{name} " for name in self._names)]
        for _ in range(_RANDOM):
            yield "".join(choose.choices(pieces, k=choose.randint(2, 12)))
        vocabulary = sorted(self._library.get_vocab(with_added_tokens=False).values())
        some = choose.sample(vocabulary, min(_TOKENS, len(vocabulary)))
        for start in range(0, len(some), 64):
            yield self._library.decode(some[start : start + 64], skip_special_tokens=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"_library": self._library, "_names": self._names, "_fast": None, "slow_because": None}


def _built(definition: str) -> tuple[Any, str | None]:
    """The faster encoder, or why there is none."""
    try:
        import fastokens

        fast = fastokens.Tokenizer.from_json_str(definition)
        fast.no_truncation()
        fast.no_padding()
    except ImportError:
        return None, "fastokens is not installed"
    except ValueError as error:  # methods and steps that it does not know
        return None, f"fastokens: {error}"
    return fast, None


def _by_fast(fast: Any, texts: Sequence[str]) -> Encoded:
    # The last argument: names of control tokens in a text are text.
    ids, begins = fast.encode_batch_flat(list(texts), False, True)
    return Encoded(np.frombuffer(ids, "<u4"), np.frombuffer(begins, "<u8")[1:].astype(np.int64))


def readable(error: BaseException) -> BaseException:
    """What to raise for an error of `tokenizers`: one of ours where it panicked, which it does where an expression
    backtracks too far."""
    if type(error).__name__ != "PanicException":
        return error
    return InputError(
        f"the text cannot be cut into words by the tokenizer's pattern: {error}",
        hint="a pattern in which one repetition stands in another, as in (a+)+, takes endless time; write it without",
    )


def _portions(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts in their order, in parts that are not much larger than `_AT_ONCE`."""
    begin = size = 0
    for at, text in enumerate(texts):
        size += len(text)
        if size >= _AT_ONCE:
            yield texts[begin : at + 1]
            begin, size = at + 1, 0
    if begin < len(texts):
        yield texts[begin:]
