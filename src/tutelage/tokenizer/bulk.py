"""Encoding of many texts at once, by the fastest way that gives the same ids.

`tokenizers` is the reference. `fastokens`, an independent implementation, encodes byte-pair models faster; if the
splitting rule of a definition is known, `pieces` encodes each word once; for other models, `words` uses fastokens to
split words. Each is first compared with the reference on probes in many scripts, tokens of the vocabulary, names of
control tokens, and some of the texts to be encoded. Samples of every batch are encoded by both, those with characters
not yet compared first. At the first differing id the next way is tried, and finally `tokenizers` itself;
`Bulk.encoder` names the encoder in use and the reason.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from tutelage.store.errors import InputError
from tutelage.tokenizer.building import SPLITS
from tutelage.tokenizer.encoded import Encoded as Encoded
from tutelage.tokenizer.encoded import portions
from tutelage.tokenizer.pieces import Pieces
from tutelage.tokenizer.words import Words

ENOUGH = 100_000
"""Characters in a batch above which building and checking the faster encoder pays off."""
_AT_ONCE = 4_000_000  # characters per call of `tokenizers`, which keeps far more than the ids of each text in memory
_TRIED = 100_000  # characters of the texts that the encoder is checked on
_TOKENS = 1024  # tokens of the vocabulary that it is checked on
_RANDOM = 300  # probes composed of random pieces
_SPOTS, _SPOT = 4, 500  # samples of a batch that both encode, and the characters of each
_GPT2 = {SPLITS["gpt2"], r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"}
_NO_MERGES = re.compile(r'"merges"\s*:\s*\[\s*\]')  # models of bytes or characters: a plain lookup
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

    `definition`: of `library`. `names`: of control tokens and of others that were added; they are among what the
    encoder is tried on.
    """

    def __init__(self, library: tokenizers.Tokenizer, definition: str, names: Iterable[str] = ()) -> None:
        self._library, self._definition, self._names = library, definition, sorted(names)
        self._fast: _Fast | None = None
        self._tried = np.zeros(0x110000, bool)  # characters that both encoded alike
        self._texts = 0  # that the faster one encoded
        self.slow_because: str | None = None
        """Why the faster library is not used; None if it is used, or if no batch has been large enough yet."""
        self.mistaken: str | None = None
        """Text with wrong ids after the checks were passed: texts encoded before may have wrong ids."""

    @property
    def encoder(self) -> str:
        """The encoder in use with its version, and why the faster one is not used: `fastokens 0.3.5`,
        `tokenizers 0.23.3 (fastokens is not installed)` or, before the first large batch, `… (few texts)`."""
        if isinstance(self._fast, Pieces):
            return f"tokenizers {version('tokenizers')}, each word once"
        if self._fast is not None:
            return f"fastokens {version('fastokens')}{', word by word' if isinstance(self._fast, Words) else ''}"
        return f"tokenizers {version('tokenizers')} ({self.slow_because or 'few texts'})"

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Ids of the texts, without special tokens. Raises the error of `tokenizers` for other than text."""
        if self._fast is None and self.slow_because is None and sum(map(len, texts)) >= ENOUGH:
            self._choose(texts)
        fast = self._fast  # another thread may give it up meanwhile
        if fast is not None:
            try:
                spots = self._spots(texts)
                found, tried = fast.encode([*texts, *spots]).divided(len(texts))
                reason = self._difference(spots, tried)
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
        """Free the faster encoder, about 45 MB of tables; the next large batch rebuilds it."""
        self._fast = None
        self._tried = np.zeros(0x110000, bool)

    def _choose(self, texts: Sequence[str]) -> None:
        """The first of the faster ways that gives the ids of `tokenizers` on the probes and on some of the texts."""
        reasons = []
        for name, build in self._ways().items():
            try:
                fast = build()
                # By pieces it is `tokenizers` that has encoded them.
                tried = _TRIED // 4 if isinstance(fast, Pieces) else _TRIED
                some = [*self._probes(), *_beginnings(texts, tried)]
                reason = self._difference(some, fast.encode(some))
            except UnicodeEncodeError:
                raise
            except ImportError:
                reason = "is not installed"
            except ValueError as error:  # methods and steps that it does not know
                reason = str(error)
            if reason is None:
                self._fast = fast
                return
            reasons.append(f"{name} {reason}" if reason.startswith(("is not", "gives")) else f"{name}: {reason}")
        self.slow_because = "; ".join(reasons)

    def _ways(self) -> dict[str, Callable[[], _Fast]]:
        """Ways to encode faster, the fastest first."""
        direct: dict[str, Callable[[], _Fast]] = {"fastokens": lambda: _Direct(self._definition)}
        pieces: dict[str, Callable[[], _Fast]] = {"encoding each word once": lambda: Pieces(self._library)}
        if isinstance(self._library.model, tokenizers.models.BPE) and not _NO_MERGES.search(self._definition):
            return {**direct, **pieces}
        return {**pieces, "fastokens by words": lambda: Words(self._definition)}

    def _difference(self, texts: Sequence[str], found: Encoded) -> str | None:
        """What speaks against the faster encoder, which found these ids: the first text whose ids differ, or None."""
        for text, one, other in zip(texts, found, self._by_library(texts), strict=True):
            if one != other:
                return f"gives other ids, e.g. of {json.dumps(_apart(text, one, other))}"
            self._tried[_codes(text)] = True
        return None

    def _spots(self, texts: Sequence[str]) -> list[str]:
        """Pieces of the texts to try the encoder on: one of any place, and those around characters not tried yet."""
        chosen = texts[self._texts * 7919 % len(texts)] if texts else ""
        begin = self._texts * 104729 % max(1, len(chosen) - _SPOT)
        spots = [chosen[begin : begin + _SPOT]]
        joined = "\n".join(text for text in texts if not str.isascii(text))
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
        fresh = Bulk(self._library, self._definition, self._names)
        return vars(fresh)


class _Direct:
    """fastokens for a definition. Raises ValueError if it does not support the definition, ImportError if it is not
    installed."""

    def __init__(self, definition: str) -> None:
        import fastokens

        self._fast = fastokens.Tokenizer.from_json_str(_native(definition))
        self._fast.no_truncation()
        self._fast.no_padding()

    def encode(self, texts: Sequence[str]) -> Encoded:
        # The last argument: names of control tokens in a text are text.
        ids, begins = self._fast.encode_batch_flat(list(texts), False, True)
        return Encoded(np.frombuffer(ids, "<u4"), np.frombuffer(begins, "<u8")[1:].astype(np.int64))


_Fast = _Direct | Pieces | Words


def _beginnings(texts: Sequence[str], most: int) -> Iterator[str]:
    """The first `most` characters of the texts."""
    for text in texts:
        if most <= 0:
            return
        yield text[:most]
        most -= len(text)


def _native(definition: str) -> str:
    """The definition with the pattern of GPT-2 as the step of that meaning, which fastokens cuts by three times as fast
    as by an expression."""
    if not any(json.dumps(pattern) in definition for pattern in _GPT2):
        return definition
    # Only this part is parsed: large vocabularies take long.
    place = definition.find('"pre_tokenizer":')
    begin = place + len('"pre_tokenizer":')
    given, end = json.JSONDecoder().raw_decode(definition, begin)
    steps = (given or {}).get("pretokenizers") or []
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
        native = json.dumps(steps[1] | {"use_regex": True})
        return definition[:begin] + native + definition[end:]
    return definition


def _codes(text: str) -> NDArray[np.uint32]:
    """The code points, lone surrogates included."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _apart(text: str, one: Sequence[int], other: Sequence[int]) -> str:
    """A short excerpt of a text near the first difference of its ids."""
    alike = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    begin = max(0, round(alike / max(1, len(other)) * len(text)) - 10)
    return text[begin : begin + 40]


def readable(error: BaseException) -> BaseException:
    """The exception to raise for an error of `tokenizers`: InputError for a panic (as when a regular expression
    backtracks too far) and for text that the vocabulary cannot encode, else the error itself."""
    if type(error) is Exception:  # it raises no other kind
        return InputError(
            f"the text cannot be encoded: {error}",
            hint="the vocabulary lacks a token for unknown text (unk_token, unk_id)",
        )
    if type(error).__name__ != "PanicException":
        return error
    return InputError(
        f"the tokenizer's pattern cannot split the text into words: {error}",
        hint="nested repetitions such as (a+)+ backtrack exponentially; write the pattern without them",
    )
