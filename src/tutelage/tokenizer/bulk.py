"""Encoding of many texts at once, by the fastest way that gives the same ids.

What the ids are, `tokenizers` says. `fastokens` (byte pairs only) is many times as fast (docs/tokenizer.md), and others
wrote it after the same definition; for other models `words` lets it cut the words. Neither is trusted untried: on
probes of many scripts, on the vocabulary's own tokens, on names of control tokens, and on some of the texts that are to
be encoded. Of every batch some pieces are encoded by both, first those whose characters were not tried before. One id
that differs, or a definition that it does not read, and `tokenizers` does the work; `Bulk.encoder` says who does it,
and why.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from tutelage.store.errors import InputError
from tutelage.tokenizer.building import SPLITS
from tutelage.tokenizer.encoded import Encoded as Encoded
from tutelage.tokenizer.encoded import portions
from tutelage.tokenizer.words import Words

ENOUGH = 100_000
"""Characters of a batch from which on it is worth building and trying the faster encoder."""
_AT_ONCE = 4_000_000  # characters that `tokenizers` gets at a time: it holds far more than the ids of each text
_TRIED = 100_000  # characters of the texts that the encoder is tried on
_TOKENS = 8192  # of the vocabulary, likewise
_RANDOM = 500  # probes made up of pieces
_SPOTS, _SPOT = 4, 500  # pieces of a batch that both encode, and their characters
_GPT2 = {SPLITS["gpt2"], r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"}
_PIECES = (
    "abc", "ABC", " the", "The", "1", "42", "1234567", " 3.14", "'s", "'RE", "'ll", "n't", "\u017f", "\u212a", "\u1e9e",
    "\u00e9", "e\u0301", "naïve", "größe", "日本語", "中文", "한국어", "ไทยภาษา", "हिन्दी", "العربية", "עברית",
    "данные", "Ελλάδα", "\u0663\u0664\u0665", "½", "²", "😀", "👩\u200d👧", "🏳\ufe0f\u200d🌈", " ", "  ", "   \n",
    "\n", "\n\n", "\r\n", "\r", "\t", "\u00a0", "\u3000", "\u2028", "\u200b", "\ufeff", "\x00", "\x1b", "\x7f", "\x85",
    "\ufffd", "\U0010ffff", "!", "?!", "...", "(", "/", "\\", "_", "__init__", "#", "##", "▁", "Ġ", "<", ">", "<unk>",
    "<0x41>", "<s>", "</s>", "<|", "|>", "https://a.b/c?d=e&f",
)  # fmt: skip


class Bulk:
    """Encodes many texts with the ids of `library`, on all threads. May be shared between threads.

    `names`: of control tokens and of others that were added; they are among what the encoder is tried on.
    """

    def __init__(self, library: tokenizers.Tokenizer, names: Iterable[str] = ()) -> None:
        self._library, self._names = library, sorted(names)
        self._fast: _Direct | Words | None = None
        self._tried = np.zeros(0x110000, bool)  # characters that both encoded alike
        self._texts = 0  # that the faster one encoded
        self.slow_because: str | None = None
        """Why the faster library is not used; None where it is, or where no batch was large enough yet."""
        self.mistaken: str | None = None
        """What it gave other ids for after it had been trusted: texts encoded before may have wrong ids."""

    @property
    def encoder(self) -> str:
        """Who encodes, with the version, and why not the faster one: `fastokens 0.3.5`, or
        `tokenizers 0.23.3 (fastokens is not installed)`; where no batch was large enough yet, that."""
        if self._fast is not None:
            return f"fastokens {version('fastokens')}{', word by word' if isinstance(self._fast, Words) else ''}"
        return f"tokenizers {version('tokenizers')} ({self.slow_because or 'few texts'})"

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Ids of the texts; no token is added at either end. Raises what `tokenizers` raises for what is no text."""
        if self._fast is None and self.slow_because is None and sum(map(len, texts)) >= ENOUGH:
            self._choose(texts)
        fast = self._fast  # another thread may give it up meanwhile
        if fast is not None:
            try:
                found = fast.encode(texts)
                reason = self._difference(fast, self._spots(texts))
            except UnicodeEncodeError:
                raise
            except ValueError as error:  # an expression that backtracks too far, say
                self._fast, self.slow_because = None, f"fastokens: {error}"
            else:
                if reason is None:
                    self._texts += len(texts)
                    return found
                self.mistaken = f"{reason}; {self._texts:,} texts were encoded by it before"
                self._fast, self.slow_because = None, self.mistaken
        return self._by_library(texts)

    def release(self) -> None:
        """Give up the memory of the faster encoder, some 45 MB of tables; the next large batch builds it anew."""
        self._fast = None
        self._tried = np.zeros(0x110000, bool)

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

    def _difference(self, fast: _Direct | Words, texts: Sequence[str]) -> str | None:
        """What speaks against the faster encoder: the first text whose ids differ; None where there is none."""
        try:
            found = fast.encode(texts)
        except UnicodeEncodeError:
            raise
        except ValueError as error:
            return f"fastokens: {error}"
        for text, one, other in zip(texts, found, self._by_library(texts), strict=True):
            if one != other:
                return f"fastokens gives other ids, e.g. of {json.dumps(_apart(text, one, other))}"
            self._tried[_codes(text)] = True
        return None

    def _spots(self, texts: Sequence[str]) -> list[str]:
        """Pieces of the texts to try the encoder on: one of any place, and those around characters not tried yet."""
        chosen = texts[self._texts * 7919 % len(texts)] if texts else ""
        begin = self._texts * 104729 % max(1, len(chosen) - _SPOT)
        spots = [chosen[begin : begin + _SPOT]]
        joined = "\n".join(text for text in texts if not text.isascii())
        codes = _codes(joined)
        others = np.flatnonzero(codes > 127)  # the probes have the rest
        new = others[~self._tried[codes[others]]]
        tried = self._tried.copy() if len(new) else self._tried
        while len(new) and len(spots) < _SPOTS:
            begin = max(0, int(new[0]) - _SPOT // 2)
            spots.append(joined[begin : begin + _SPOT])
            tried[_codes(spots[-1])] = True
            new = new[~tried[codes[new]]]
        return spots

    def _by_library(self, texts: Sequence[str]) -> Encoded:
        return Encoded.joined([
            Encoded.of(one.ids for one in self._library.encode_batch_fast(list(some), add_special_tokens=False))
            for some in portions(texts, _AT_ONCE)
        ])  # fmt: skip

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
        fresh = Bulk(self._library, self._names)
        return vars(fresh)


class _Direct:
    """Encodes as the definition does. Raises ValueError for one that fastokens does not read, and ImportError where it
    is not installed."""

    def __init__(self, definition: str) -> None:
        import fastokens

        self._fast = fastokens.Tokenizer.from_json_str(_native(definition))
        self._fast.no_truncation()
        self._fast.no_padding()

    def encode(self, texts: Sequence[str]) -> Encoded:
        # The last argument: names of control tokens in a text are text.
        ids, begins = self._fast.encode_batch_flat(list(texts), False, True)
        return Encoded(np.frombuffer(ids, "<u4"), np.frombuffer(begins, "<u8")[1:].astype(np.int64))


def _native(definition: str) -> str:
    """The definition with the pattern of GPT-2 as the step of that meaning, which fastokens cuts by three times as fast
    as by an expression."""
    if not any(json.dumps(pattern) in definition for pattern in _GPT2):
        return definition
    data = json.loads(definition)
    steps = (data.get("pre_tokenizer") or {}).get("pretokenizers") or []
    plain = {"behavior": "Isolated", "invert": False}
    if (
        len(steps) == 2
        and steps[0]["type"] == "Split"
        and {key: steps[0][key] for key in plain} == plain
        and steps[0]["pattern"].get("Regex") in _GPT2
        and steps[1]["type"] == "ByteLevel"
        and not steps[1]["add_prefix_space"]
        and not steps[1]["use_regex"]
    ):
        data["pre_tokenizer"] = steps[1] | {"use_regex": True}
    return json.dumps(data)


def _built(definition: str) -> tuple[_Direct | Words | None, str | None]:
    """The faster encoder, or why there is none."""
    try:
        return _Direct(definition), None
    except ImportError:
        return None, "fastokens is not installed"
    except ValueError as error:  # methods and steps that it does not know
        reason = str(error)
    try:
        return Words(definition), None
    except ValueError as error:
        return None, f"fastokens: {reason}; by words: {error}"


def _codes(text: str) -> NDArray[np.uint32]:
    """The characters as numbers; those that are none (lone surrogates) among them."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _apart(text: str, one: Sequence[int], other: Sequence[int]) -> str:
    """A short piece of a text from about where its ids begin to differ."""
    alike = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    begin = max(0, round(alike / max(1, len(other)) * len(text)) - 10)
    return text[begin : begin + 40]


def readable(error: BaseException) -> BaseException:
    """What to raise for an error of `tokenizers`: one of ours where it panicked, which it does where an expression
    backtracks too far, and where the vocabulary has nothing for a piece of text."""
    if type(error) is Exception:  # it raises no other kind
        return InputError(
            f"the text cannot be encoded: {error}",
            hint="the vocabulary lacks a token for unknown text (unk_token, unk_id)",
        )
    if type(error).__name__ != "PanicException":
        return error
    return InputError(
        f"the text cannot be cut into words by the tokenizer's pattern: {error}",
        hint="a pattern in which one repetition stands in another, as in (a+)+, takes endless time; write it without",
    )
