"""Encode and decode text, with control tokens kept separate.

A `tokenizers.Tokenizer` finds control tokens in any text: "<|im_end|>" in a question would end it. So there are two
instances: `_control` for the text of chat templates, and `_plain` for all other text, which by construction never
encodes to control tokens.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from typing import Any

from tutelage.store.errors import DamagedError, InputError
from tutelage.tokenizer.bulk import Bulk, Encoded, readable
from tutelage.tokenizer.definition import byte_characters as byte_characters
from tutelage.tokenizer.definition import bytes_rule, unknown_token, without_control
from tutelage.tokenizer.library import alike, instance, last_id, not_text
from tutelage.tokenizer.library import text_of as text_of

_LONG = 10_000  # characters from which a text is encoded as a batch of one, which lets other threads of Python run
_NO_LIMIT = 10**9  # transformers writes 1e30 where nothing limits a text
_TEXT_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>")
_TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|eot|>", "<end_of_turn>", "<|return|>")
_TURN_OPENERS = ("<|im_start|>", "<|start_header_id|>", "<start_of_turn>", "<|start|>", "<|user|>", "[INST]")
_NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")


class Vocabulary:
    """The part of a tokenizer for texts and ids; `Tokenizer` adds files and a chat template."""

    def __init__(
        self,
        definition: str,
        settings: dict[str, Any],
        chat_template: str | None = None,
        stop_ids: Iterable[int] = (),
    ) -> None:
        self._definition, self._settings, self.chat_template = definition, dict(settings), chat_template
        try:
            data = json.loads(definition)
            self._control = instance(definition)
        except Exception as error:
            raise DamagedError(f"tokenizer definition cannot be read: {error}") from None
        if data["model"].get("dropout"):
            raise InputError(
                f"the tokenizer merges at random (dropout {data['model']['dropout']}): the ids of a text vary",
                hint="set model.dropout to null in tokenizer.json",
            )
        self._decoder = {"decoder": data.get("decoder")}
        self.special_tokens = {key: text for key in _NAMED if (text := text_of(settings.get(key))) is not None}
        self.bos_id = self._id_named("bos_token")
        eos_id = self._id_named("eos_token")
        if eos_id is None:
            raise InputError("the tokenizer names no end-of-text token", hint="set eos_token in tokenizer_config.json")
        self.eos_id = eos_id
        pad_id = self._id_named("pad_token")
        self.pad_id = eos_id if pad_id is None else pad_id
        self.vocab_size = 1 + last_id(data, self._control)

        stops = {eos_id, *stop_ids}
        marks = stops if self.bos_id is None else stops | {self.bos_id}
        special = {token["content"] for token in data["added_tokens"] if token["special"]}
        # The unknown token must remain reachable from text. A Unigram model has its id, and encodes the text "<unk>"
        # like other text, as SentencePiece does; other models need its name.
        unknown = unknown_token(data["model"])
        special.discard(unknown)
        unspelled = {unknown} if data["model"].get("unk_id") is not None else set()
        control = special | {self.id_to_token(index) for index in marks}
        self.control_ids = frozenset(index for text in control if (index := self.token_to_id(text)) is not None)
        plain = json.dumps(without_control(data, control | unspelled), ensure_ascii=False, separators=(",", ":"))
        self._plain = instance(plain)
        self._plain.encode_special_tokens = True
        self._bulk = Bulk(self._plain, plain, control | {token["content"] for token in data["added_tokens"]})
        self.stop_ids: tuple[int, ...] = tuple(sorted(stops | self._turn_ends()))

    def _turn_ends(self) -> set[int]:
        """Ids that end a turn in the chat template; overridden by `Tokenizer`."""
        return set()

    @property
    def definition(self) -> str:
        """The text of its tokenizer.json."""
        return self._definition

    @property
    def settings(self) -> dict[str, Any]:
        """The content of its tokenizer_config.json."""
        return dict(self._settings)

    @property
    def max_length(self) -> int | None:
        """Maximum length of a text in tokens (`model_max_length`), if known."""
        length = self._settings.get("model_max_length")
        return length if isinstance(length, int) and 0 < length < _NO_LIMIT else None

    def encode(self, text: str) -> list[int]:
        """Ids of a text, never control tokens; no token is added at either end."""
        try:
            if len(text) > _LONG:
                return list(self._plain.encode_batch_fast([text], add_special_tokens=False)[0].ids)
            return list(self._plain.encode(text, add_special_tokens=False).ids)
        except (TypeError, UnicodeEncodeError):
            raise not_text([text]) from None
        except BaseException as error:
            raise readable(error) from None

    def encode_inside(self, text: str) -> list[int]:
        """`encode` for text within another: without the leading space that some tokenizers add."""
        if not self._begins_with_space:
            return self.encode(text)
        anchor, whole = self.encode("\n"), self.encode("\n" + text)
        return whole[len(anchor) :] if whole[: len(anchor)] == anchor else self.encode(text)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of many texts, on all threads."""
        return list(self.encode_flat(texts))

    def encode_flat(self, texts: Sequence[str]) -> Encoded:
        """`encode_batch` as one array, for whole corpora."""
        try:
            return self._bulk.encode(texts)
        except (TypeError, UnicodeEncodeError):
            raise not_text(texts) from None
        except BaseException as error:
            raise readable(error) from None

    def release_encoder(self) -> None:
        """Free the memory for encoding many texts, until the next time."""
        self._bulk.release()

    @property
    def encoder(self) -> str:
        """The library that encodes many texts, and why (see `bulk`)."""
        return self._bulk.encoder

    @property
    def slow_because(self) -> str | None:
        """Why many texts are not encoded by the faster library; None if they are, or if there were only few."""
        return self._bulk.slow_because

    @property
    def mistaken(self) -> str | None:
        """Where the faster library gave wrong ids after it had passed its checks: texts encoded before may have wrong
        ids. It is not used any more."""
        return self._bulk.mistaken

    def encode_control(self, text: str) -> list[int]:
        """Ids of a template's own text, in which "<|im_end|>" is the control token. Never for untrusted text."""
        try:
            return list(self._control.encode(text, add_special_tokens=False).ids)
        except BaseException as error:
            raise readable(error) from None

    def encode_followed(self, text: str, piece: str) -> tuple[list[int], list[int]] | None:
        """Ids of untrusted text and of the template text that follows it, encoded together, so that tokens may span
        both, as in other libraries. A token that begins in the text belongs to the text.

        None if that would be unsafe, because of a control token in the text or across its end, or different, because
        the tokenizer adds a space before a text.
        """
        whole = text + piece
        if self._begins_with_space or any(whole.count(name) != piece.count(name) for name in self.added_names):
            return None
        encoding = self._control.encode(whole, add_special_tokens=False)
        inside = sum(begin < len(text) for begin, _ in encoding.offsets)
        return list(encoding.ids[:inside]), list(encoding.ids[inside:])

    def encode_control_inside(self, text: str) -> list[int]:
        """`encode_control` for text within another: without the leading space that some tokenizers add."""
        if not self._begins_with_space:
            return self.encode_control(text)
        anchor, whole = self.encode_control("\n"), self.encode_control("\n" + text)
        return whole[len(anchor) :] if whole[: len(anchor)] == anchor else self.encode_control(text)

    @cached_property
    def added_names(self) -> frozenset[str]:
        """Tokens that are recognised by name anywhere in a template's own text."""
        return frozenset(str(token["content"]) for token in json.loads(self._definition)["added_tokens"])

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Text of ids. Invalid UTF-8 (a truncated character) becomes U+FFFD."""
        return self._control.decode(list(ids), skip_special_tokens=skip_special)

    def decode_showing(self, shown: Collection[int], ids: Sequence[int]) -> str:
        """`decode`, with the names of the control tokens in `shown`."""
        return self.decode([one for one in ids if one in shown or one not in self.control_ids], skip_special=False)

    def token_to_id(self, token: str) -> int | None:
        return self._control.token_to_id(token)

    def id_to_token(self, index: int) -> str:
        """The token as written in the vocabulary. Raises InputError for an unknown id."""
        token = self._control.id_to_token(index) if index >= 0 else None
        if token is None:
            raise InputError(f"no token has id {index}", hint=f"ids go from 0 to {self.vocab_size - 1}")
        return token

    def token_bytes(self, index: int) -> bytes:
        """The bytes of text of a token (for a control token its name). Lossy methods: without white space.

        For lossless tokenizers the bytes of all ids of a text, joined, are the text in UTF-8.
        """
        if not 0 <= index < self.vocab_size:
            raise InputError(f"no token has id {index}", hint=f"ids go from 0 to {self.vocab_size - 1}")
        return self._bytes.get(index, b"")  # published vocabularies have gaps

    def same_tokens(self, other: Vocabulary) -> bool:
        """Whether every id has the same text in both."""
        return self.vocab_size == other.vocab_size and self._bytes == other._bytes

    @property
    def begin_ids(self) -> list[int]:
        """Ids that the tokenizer adds before a text: the begin-of-text token, a frame, or none.

        The post-processor of the definition decides, as in transformers 5; for a specific tokenizer class
        (LlamaTokenizer), `add_bos_token` of the settings does, if given.
        """
        return self._around[0]

    @property
    def end_ids(self) -> list[int]:
        """Ids that the tokenizer adds after a whole text (for classification); see `begin_ids`."""
        return self._around[1]

    def framed(self, ids: Sequence[int]) -> list[int]:
        """Ids of a whole text for a classifier, with the ids that the tokenizer adds at both ends."""
        return [*self.begin_ids, *ids, *self.end_ids]

    @cached_property
    def _around(self) -> tuple[list[int], list[int]]:
        begins, ends = (self._settings.get(key) for key in ("add_bos_token", "add_eos_token"))
        generic = self._settings.get("tokenizer_class") in (None, "PreTrainedTokenizerFast", "TokenizersBackend")
        # The text begins where two encodings differ, since the frame itself may contain "a".
        bare, whole = (
            [self._control.encode(text, add_special_tokens=add).ids for text in "ab"] for add in (False, True)
        )
        at = alike(*whole) - alike(*bare)
        before, after = whole[0][:at], whole[0][at + len(bare[0]) :]
        if isinstance(begins, bool) and not generic:
            before = [self.bos_id] if begins and self.bos_id is not None else []
        if isinstance(ends, bool) and not generic:
            after = [self.eos_id] if ends else []
        return before, after

    @cached_property
    def start_id(self) -> int:
        """The token before a document: the one that the tokenizer adds, else the begin-of-text token, else end-of-text.
        Never a token that opens a turn of a conversation, which some tokenizers declare as begin-of-text."""
        if self.begin_ids:
            return self.begin_ids[0]
        if self.bos_id is not None and self.special_tokens["bos_token"] not in _TURN_OPENERS:
            return self.bos_id
        return self.end_of_text_id

    @cached_property
    def end_of_text_id(self) -> int:
        """The token that ends a document. Chat models declare their end-of-turn token as `eos_token`, so known names of
        end-of-text tokens take precedence over it."""
        if self.special_tokens["eos_token"] not in _TURN_ENDS:
            return self.eos_id
        known = (self.token_to_id(name) for name in _TEXT_ENDS)
        return next((index for index in known if index is not None and index in self.control_ids), self.eos_id)

    @cached_property
    def _begins_with_space(self) -> bool:
        # As in SentencePiece, "word" at the beginning of a text may equal " word" within. Only this token is examined,
        # since the bytes of all tokens take a while.
        first = self.encode("a")[:1]
        return bool(first) and bool(bytes_rule(self._decoder)(self.id_to_token(first[0])).startswith(b" "))

    @cached_property
    def _bytes(self) -> dict[int, bytes]:
        data = json.loads(self._definition)
        added = {token["id"]: token["content"].encode() for token in data["added_tokens"]}
        vocabulary = self._control.get_vocab(with_added_tokens=False)
        to_bytes = bytes_rule(self._decoder)
        return {index: to_bytes(token) for token, index in vocabulary.items()} | added

    def _id_named(self, key: str) -> int | None:
        text = self.special_tokens.get(key)
        if text is None:
            return None
        index = self.token_to_id(text)
        if index is None:
            raise InputError(f"{key} {text!r} is not in the vocabulary")
        return index
