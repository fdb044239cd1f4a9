"""The tokenizer: text to ids and back, control tokens kept apart, Hugging Face layout on disk.

A `tokenizers.Tokenizer` cuts control tokens out of any text it is given. Whoever writes "<|im_end|>" into a
question would end the question. So two instances are held: `_control` for the text of chat templates, and
`_plain` for everything else, in which no text leads to a control token, by construction.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from tutelage.store.errors import DamagedError, InputError
from tutelage.store.files import write_atomic, write_json

DEFINITION, SETTINGS, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
_NO_LIMIT = 10**9  # transformers writes 1e30 where nothing limits a text
_TEXT_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>")
_TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|eot|>", "<end_of_turn>", "<|return|>")
_TURN_OPENERS = ("<|im_start|>", "<|start_header_id|>", "<start_of_turn>", "<|start|>", "<|user|>", "[INST]")
_NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")


class Tokenizer:
    """Text to ids and back. Immutable after construction; may be shared between threads.

    `definition` is the text of a tokenizer.json, `settings` the content of a tokenizer_config.json,
    `chat_template` a Jinja template or None, `stop_ids` ids that end a generation besides those derived.
    Raises DamagedError if the definition cannot be read, InputError if no end-of-text token is named.
    """

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
            self._control = _instance(definition)
        except Exception as error:
            raise DamagedError(f"tokenizer definition cannot be read: {error}") from None
        self.special_tokens = {key: text for key in _NAMED if (text := _text_of(settings.get(key))) is not None}
        self.bos_id = self._id_named("bos_token")
        eos_id = self._id_named("eos_token")
        if eos_id is None:
            raise InputError("the tokenizer names no end-of-text token", hint=f"set eos_token in {SETTINGS}")
        self.eos_id = eos_id
        pad_id = self._id_named("pad_token")
        self.pad_id = eos_id if pad_id is None else pad_id
        self.vocab_size = max(self._control.get_vocab(with_added_tokens=True).values()) + 1

        stops = {eos_id, *stop_ids}
        marks = stops if self.bos_id is None else stops | {self.bos_id}
        special = {token["content"] for token in data["added_tokens"] if token["special"]}
        # What the model says for unknown text must stay reachable from text.
        special.discard(_unknown_token(data["model"]))
        control = special | {self.id_to_token(index) for index in marks}
        self.control_ids = frozenset(index for text in control if (index := self.token_to_id(text)) is not None)
        self._plain = _instance(json.dumps(_without_control(data, control)))
        self._plain.encode_special_tokens = True
        self.stop_ids: tuple[int, ...] = tuple(sorted(stops | self._turn_ends()))

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
        """How many tokens of a text the model was made to read (`model_max_length`), if anyone says."""
        length = self._settings.get("model_max_length")
        return length if isinstance(length, int) and 0 < length < _NO_LIMIT else None

    def with_max_length(self, length: int) -> Tokenizer:
        """The same tokenizer for a model that reads at most `length` tokens of a text."""
        settings = {**self._settings, "model_max_length": length}
        return Tokenizer(self._definition, settings, self.chat_template, self.stop_ids)

    @classmethod
    def load(cls, directory: Path | str) -> Tokenizer:
        """Read a directory in Hugging Face layout, ours or foreign; generation_config.json adds stop ids.

        Where the tokenizer's own files name no end-of-text token (GPT-2), config.json's `eos_token_id` does.
        Raises InputError if it holds no tokenizer, DamagedError if a file cannot be read.
        """
        directory = Path(directory)
        if not (directory / DEFINITION).is_file():
            raise InputError(f"{directory} holds no tokenizer: {DEFINITION} is missing")
        settings = {**_read_json(directory / "special_tokens_map.json"), **_read_json(directory / SETTINGS)}
        template = settings.pop("chat_template", None)
        if isinstance(template, list):
            template = _default_template(template, directory / SETTINGS)
        if (directory / TEMPLATE).is_file():
            template = (directory / TEMPLATE).read_text(encoding="utf-8")
        stops = _read_json(directory / "generation_config.json").get("eos_token_id")
        stops = [] if stops is None else stops if isinstance(stops, list) else [stops]
        try:
            definition = (directory / DEFINITION).read_text(encoding="utf-8")
            if _text_of(settings.get("eos_token")) is None:
                of_model = _read_json(directory / "config.json").get("eos_token_id", stops)
                settings |= _eos_by_id(definition, of_model)
            return cls(definition, settings, template, stops)
        except (DamagedError, UnicodeDecodeError) as error:
            raise DamagedError(f"{directory / DEFINITION} is damaged: {error}") from None

    def save(self, directory: Path | str) -> None:
        """Write tokenizer.json, tokenizer_config.json and chat_template.jinja; transformers loads these."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        write_atomic(directory / DEFINITION, self._definition)
        write_json(directory / SETTINGS, self._settings)
        if self.chat_template is not None:
            write_atomic(directory / TEMPLATE, self.chat_template)
        else:  # of the tokenizer that lay there before
            (directory / TEMPLATE).unlink(missing_ok=True)

    def encode(self, text: str) -> list[int]:
        """Ids of a text. No text ever leads to a control token; none is added at either end."""
        try:
            return list(self._plain.encode(text, add_special_tokens=False).ids)
        except (TypeError, UnicodeEncodeError):
            raise _not_text([text]) from None

    def encode_inside(self, text: str) -> list[int]:
        """`encode` of a text that stands within another: without the space that some tokenizers put before."""
        if not self._begins_with_space:
            return self.encode(text)
        anchor, whole = self.encode("\n"), self.encode("\n" + text)
        return whole[len(anchor) :] if whole[: len(anchor)] == anchor else self.encode(text)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of many texts, on all threads."""
        try:
            batch = self._plain.encode_batch_fast(list(texts), add_special_tokens=False)
        except (TypeError, UnicodeEncodeError):
            raise _not_text(texts) from None
        return [list(encoding.ids) for encoding in batch]

    def encode_control(self, text: str) -> list[int]:
        """Ids of a template's own text, in which "<|im_end|>" is the control token. Never for foreign
        text."""
        return list(self._control.encode(text, add_special_tokens=False).ids)

    def encode_control_inside(self, text: str) -> list[int]:
        """`encode_control` of a text that stands within another: without the space that some tokenizers put before."""
        if not self._begins_with_space:
            return self.encode_control(text)
        anchor, whole = self.encode_control("\n"), self.encode_control("\n" + text)
        return whole[len(anchor) :] if whole[: len(anchor)] == anchor else self.encode_control(text)

    @cached_property
    def added_names(self) -> frozenset[str]:
        """Tokens that are found as a whole wherever their name stands in a template's own text."""
        return frozenset(str(token["content"]) for token in json.loads(self._definition)["added_tokens"])

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Text of ids. Bytes that are no UTF-8 (a character cut in two) appear as U+FFFD."""
        return self._control.decode(list(ids), skip_special_tokens=skip_special)

    def token_to_id(self, token: str) -> int | None:
        return self._control.token_to_id(token)

    def id_to_token(self, index: int) -> str:
        """The token as it stands in the vocabulary. Raises InputError for an id outside it."""
        token = self._control.id_to_token(index) if index >= 0 else None
        if token is None:
            raise InputError(f"no token has id {index}", hint=f"ids go from 0 to {self.vocab_size - 1}")
        return token

    def token_bytes(self, index: int) -> bytes:
        """The bytes of text a token stands for (a control token: its name). Lossy methods: without white
        space.

        For lossless tokenizers the bytes of all ids of a text, joined, are the text in UTF-8.
        """
        if not 0 <= index < self.vocab_size:
            raise InputError(f"no token has id {index}", hint=f"ids go from 0 to {self.vocab_size - 1}")
        return self._bytes.get(index, b"")  # published vocabularies have gaps

    @property
    def begin_ids(self) -> list[int]:
        """What the tokenizer itself puts before a text: the begin-of-text token, a frame, or nothing.

        The post-processor of the definition decides, as in transformers 5; for a tokenizer class of its own
        (LlamaTokenizer), `add_bos_token` of the settings does where it is given.
        """
        return self._around[0]

    @property
    def end_ids(self) -> list[int]:
        """What the tokenizer itself puts after a text that is read whole (to be classified); see `begin_ids`."""
        return self._around[1]

    def framed(self, ids: Sequence[int]) -> list[int]:
        """Ids of a whole text as a classifier reads it: with all that the tokenizer puts around one."""
        return [*self.begin_ids, *ids, *self.end_ids]

    @cached_property
    def _around(self) -> tuple[list[int], list[int]]:
        begins, ends = (self._settings.get(key) for key in ("add_bos_token", "add_eos_token"))
        generic = self._settings.get("tokenizer_class") in (None, "PreTrainedTokenizerFast", "TokenizersBackend")
        # Where two texts differ, the text begins: what stands around one may itself hold "a".
        bare, whole = (
            [self._control.encode(text, add_special_tokens=add).ids for text in "ab"] for add in (False, True)
        )
        at = _alike(*whole) - _alike(*bare)
        before, after = whole[0][:at], whole[0][at + len(bare[0]) :]
        if isinstance(begins, bool) and not generic:
            before = [self.bos_id] if begins and self.bos_id is not None else []
        if isinstance(ends, bool) and not generic:
            after = [self.eos_id] if ends else []
        return before, after

    @cached_property
    def start_id(self) -> int:
        """What stands before a document: what the tokenizer adds, else the named begin-of-text token, else the end of
        the document before it. Never what opens a turn of a conversation, which some name as begin-of-text."""
        if self.begin_ids:
            return self.begin_ids[0]
        if self.bos_id is not None and self.special_tokens["bos_token"] not in _TURN_OPENERS:
            return self.bos_id
        return self.end_of_text_id

    @cached_property
    def end_of_text_id(self) -> int:
        """What ends a document. Chat models name the end of a turn as `eos_token`; a known name goes before that."""
        if self.special_tokens["eos_token"] not in _TURN_ENDS:
            return self.eos_id
        known = (self.token_to_id(name) for name in _TEXT_ENDS)
        return next((index for index in known if index is not None and index in self.control_ids), self.eos_id)

    @cached_property
    def _begins_with_space(self) -> bool:
        # SentencePiece's habit: "word" at the beginning of a text is the same as " word" within.
        first = self.encode("a")[:1]
        return bool(first) and self.token_bytes(first[0]).startswith(b" ")

    @cached_property
    def _bytes(self) -> dict[int, bytes]:
        data = json.loads(self._definition)
        added = {token["id"]: token["content"].encode() for token in data["added_tokens"]}
        vocabulary = self._control.get_vocab(with_added_tokens=False)
        to_bytes = _bytes_rule(data)
        return {index: to_bytes(token) for token, index in vocabulary.items()} | added

    def _id_named(self, key: str) -> int | None:
        text = self.special_tokens.get(key)
        if text is None:
            return None
        index = self.token_to_id(text)
        if index is None:
            raise InputError(f"{key} {text!r} is not in the vocabulary")
        return index

    def _turn_ends(self) -> set[int]:
        from tutelage.tokenizer.chat import turn_end  # late: the renderer builds on the tokenizer

        if self.chat_template is None:
            return set()
        end = turn_end(self)
        return set() if end is None else {end}


# Other files from which tokenizers are read, ours and transformers': beside another tokenizer.json they mislead.
_SIDE_FILES = (
    TEMPLATE, "chat_template.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
    "vocab.txt", "tokenizer.model", "spiece.model",
)  # fmt: skip


def superseded_tokenizer(directory: Path) -> set[str]:
    """Names of the files of a tokenizer in `directory` that mean nothing once another is saved there."""
    if not (directory / DEFINITION).is_file():
        return set()
    return {name for name in _SIDE_FILES if (directory / name).is_file()}


def _alike(first: Sequence[int], second: Sequence[int]) -> int:
    """How many ids both begin with."""
    return next(
        (n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def _instance(definition: str) -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer.from_str(definition)
    # Some published files carry these, and would cut or lengthen every text silently.
    made.no_truncation()
    made.no_padding()
    return made


def _without_control(data: dict[str, Any], control: set[str]) -> dict[str, Any]:
    """The definition with control tokens renamed to what no text can reach: a name with spaces around it.

    Marking them special is not enough: a Unigram or word model would find them in its own vocabulary.
    Ids stay as they are, because the added token and the entry of the vocabulary are renamed alike.
    """

    def renamed(token: str) -> str:
        return f" {token} " if token in control else token

    model = dict(data["model"])
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, dict):
        model["vocab"] = {renamed(token): index for token, index in vocabulary.items()}
    elif isinstance(vocabulary, list):
        model["vocab"] = [[renamed(token), score] for token, score in vocabulary]
    if "merges" in model:
        model["merges"] = [merge for merge in model["merges"] if not _touches(merge, control)]
    added = [
        token | {"content": renamed(token["content"]), "special": token["special"] or token["content"] in control}
        for token in data["added_tokens"]
    ]
    return data | {"model": model, "added_tokens": added}


def _touches(merge: str | list[str], control: set[str]) -> bool:
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left in control or right in control or left + right in control


def _unknown_token(model: dict[str, Any]) -> str:
    if model.get("unk_id") is not None:
        return str(model["vocab"][model["unk_id"]][0])
    return model.get("unk_token") or ""


def _bytes_rule(data: dict[str, Any]) -> Any:
    """How a token of this definition is turned into bytes, read off its decoder."""
    decoder = data.get("decoder") or {}
    steps = decoder.get("decoders", [decoder])
    kinds = {step.get("type") for step in steps}
    if "ByteLevel" in kinds:
        byte_of = {char: byte for byte, char in byte_characters().items()}
        return lambda token: bytes(byte_of[char] for char in token if char in byte_of)
    prefix = next((step["prefix"] for step in steps if step.get("type") == "WordPiece"), None)

    def rule(token: str) -> bytes:
        if "ByteFallback" in kinds and len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            return bytes([int(token[3:5], 16)])
        if prefix is not None:
            return token.removeprefix(prefix).encode()
        if kinds & {"Metaspace", "Replace"}:
            token = token.replace("▁", " ")
        return token.encode()

    return rule


def byte_characters() -> dict[int, str]:
    """The character that stands for each byte in byte-level vocabularies (Radford et al. 2019, GPT-2)."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in set(shown)]
    return {byte: chr(byte) for byte in shown} | {byte: chr(256 + rank) for rank, byte in enumerate(hidden)}


def _default_template(named: list[Any], path: Path) -> str:
    """The template called "default" of a list, or the only one. Raises InputError where neither is there."""
    try:
        templates = {str(item["name"]): str(item["template"]) for item in named}
    except (TypeError, KeyError):
        raise DamagedError(f"{path} is damaged: chat_template is no list of names and templates") from None
    if "default" in templates:
        return templates["default"]
    if len(templates) == 1:
        return next(iter(templates.values()))
    raise InputError(
        f"{path} names {len(templates)} chat templates, none of them 'default': {', '.join(sorted(templates))}",
        hint="rename the one to use to 'default'",
    )


def _eos_by_id(definition: str, named: Any) -> dict[str, str]:
    """The setting that names the (first) end-of-text token `named` by its id; nothing if there is no such token."""
    first = named[0] if isinstance(named, list) and named else named
    try:
        token = tokenizers.Tokenizer.from_str(definition).id_to_token(first)
    except Exception:  # no id, or a definition that cannot be read: said where it is built
        return {}
    return {} if token is None else {"eos_token": token}


def _text_of(token: Any) -> str | None:
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise DamagedError(f"{path} is damaged: {error}") from None
    if not isinstance(data, dict):
        raise DamagedError(f"{path} is damaged: it holds no object")
    return data


def _not_text(texts: Sequence[Any]) -> InputError:
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            return InputError(f"text {index} to encode is {type(text).__name__}, not str")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            return InputError(f"text {index} to encode is not valid Unicode: lone surrogate at {error.start}")
    return InputError("text cannot be encoded")
