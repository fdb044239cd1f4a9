"""The tokens that a constraint allows next, by llguidance."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.inference.constraint import JSON_OPTIONS, NAMED, WHITE_SPACE, Constraint
from tutelage.inference.json_schema.keywords import HINT, parts
from tutelage.inference.json_schema.rewrite import expressible
from tutelage.store.errors import ConfigError, InputError
from tutelage.tokenizer.vocabulary import Vocabulary

_KEPT = 32  # compiled constraints: a server is asked for the same few again and again
_LONGEST_REASON = 500  # characters: some errors quote the whole pattern
_MOST_PARTS = 200  # of a schema that is refused: so many are tried alone
_PROBE = 'Name: {"a_b": [1.5, "c d"]}\n'

_JSON_IN_LARK = re.compile(r"%json\s*(?=\{)")

# Else \d may be written in digits of any script. Patterns of JSON schemas are ASCII by llguidance itself.
_ASCII_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ASCII = {"d": "[0-9]", "D": "[^0-9]", "w": "[0-9A-Za-z_]", "W": "[^0-9A-Za-z_]"}


class Grammar:
    """Compiles constraints for one vocabulary. Raises ConfigError where llguidance is missing, or the text of a token
    depends on its neighbours (WordPiece), or there is no stop token.

    vocab_size: columns of the logits; ids beyond the tokenizer's are never allowed. Of control tokens only `stop_ids`
    are, and these only where the constraint is fulfilled.
    """

    def __init__(self, tokenizer: Vocabulary, vocab_size: int, stop_ids: Sequence[int]) -> None:
        if not stop_ids:
            raise ConfigError("a constraint needs a stop token: the answer could never end")
        self._tokenizer, self._vocab_size = tokenizer, vocab_size
        self._stop_ids = [index for index in stop_ids if index < tokenizer.vocab_size]
        self._compiled: dict[Constraint, Any] = {}

    def begin(self, constraint: Constraint) -> GrammarState:
        """The state before the first token. Raises ConfigError naming what of the constraint cannot be expressed."""
        if constraint in self._compiled:
            compiled = self._compiled.pop(constraint)
        else:
            compiled = self._compile(constraint)
        self._compiled[constraint] = compiled  # the newest is last
        if len(self._compiled) > _KEPT:
            del self._compiled[next(iter(self._compiled))]
        return GrammarState(compiled.deep_copy(), self._vocab_size)

    def _compile(self, constraint: Constraint) -> Any:
        named = constraint.kind.replace("_", " ")
        try:
            text = _grammar_text(self._llguidance, constraint)
        except ValueError as error:
            raise _inexpressible(named, str(error)) from None
        matcher = self._llguidance.LLMatcher(self._table, text, log_level=0)
        if matcher.is_error():
            raise _inexpressible(named, _reason(matcher), self._place(constraint))
        try:
            begins = GrammarState(matcher.deep_copy(), self._vocab_size).allowed().any()
        except InputError as error:
            raise ConfigError(f"no answer fulfils this {named}: {error.message}") from None
        if not begins:
            raise ConfigError(f"no token of this vocabulary can begin an answer to the {named}")
        return matcher

    def _place(self, constraint: Constraint) -> str:
        """Where in a schema that was refused the smallest part stands that is refused alone; empty for other kinds."""
        root = json.loads(constraint.text) if constraint.kind == "json_schema" else True
        if not isinstance(root, dict):
            return ""
        named = {name: root[name] for name in ("$defs", "definitions") if name in root}
        for path, node in parts(root)[:_MOST_PARTS]:
            try:
                text = _schema_text(self._llguidance, {**named, **node})
            except (ConfigError, ValueError):  # refers to what is not there, or is wrong in itself
                continue
            if path != "#" and self._llguidance.LLMatcher(self._table, text, log_level=0).is_error():
                return f" at {path}"
        return ""

    @cached_property
    def _llguidance(self) -> Any:
        try:
            import llguidance
        except ImportError:
            raise ConfigError("constraints need llguidance", hint="pip install 'tutelage[grammar]'") from None
        return llguidance

    @cached_property
    def _table(self) -> Any:
        tok = self._tokenizer
        ids = tok.encode(_PROBE)
        joined = b"".join(map(tok.token_bytes, ids)).decode(errors="replace")
        if tok.decode(ids).removeprefix(" ") != joined.removeprefix(" "):
            raise ConfigError(
                "constraints need a tokenizer whose tokens, joined, are the text; this one adds or drops white space"
            )
        wrapped = self._llguidance.TokenizerWrapper(_ForLlguidance(tok, self._stop_ids[0]))
        return self._llguidance.LLTokenizer(wrapped, eos_token=self._stop_ids)


class GrammarState:
    """Where an answer stands in its constraint."""

    def __init__(self, matcher: Any, vocab_size: int) -> None:
        self._matcher, self._vocab_size = matcher, vocab_size

    def allowed(self) -> NDArray[np.bool_]:
        """Which tokens may come next, [vocab_size] bool: stop tokens only where the constraint is fulfilled."""
        bits = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), np.uint8), bitorder="little")
        if self._matcher.is_error():
            raise self._failed()
        allowed = np.zeros(self._vocab_size, np.bool_)
        count = min(len(bits), self._vocab_size)
        allowed[:count] = bits[:count]
        return allowed

    def take(self, token: int) -> None:
        """Go on by one token. Raises InputError for one that is not allowed."""
        if not self._matcher.consume_token(token):
            raise self._failed(f"token {token} is not allowed here")

    @property
    def fulfilled(self) -> bool:
        """Whether the answer may end here."""
        return bool(self._matcher.is_accepting())

    def _failed(self, otherwise: str = "") -> InputError:
        reason = otherwise or _reason(self._matcher)
        return InputError(f"the constraint could not be followed: {reason}", hint="make it simpler")


class _ForLlguidance:
    """The vocabulary as llguidance wants it: bytes of all tokens, and what is no text."""

    def __init__(self, tokenizer: Vocabulary, eos_id: int) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id, self.bos_token_id = eos_id, tokenizer.bos_id
        empty = [index for index in range(tokenizer.vocab_size) if not tokenizer.token_bytes(index)]
        self.special_token_ids = sorted({*tokenizer.control_ids, *empty})
        self.tokens = [tokenizer.token_bytes(index) for index in range(tokenizer.vocab_size)]
        for index in self.special_token_ids:  # a name that no text of a grammar can spell
            self.tokens[index] = b"\xff" + f"[{index}]".encode()

    def __call__(self, text: str | bytes) -> list[int]:
        """Ids of text that can only be continued in one way, as a text of the model's own would have them."""
        wanted = text.encode() if isinstance(text, str) else bytes(text)
        ids = self._tokenizer.encode_inside(wanted.decode(errors="replace"))
        # A tokenizer may normalise the text or put a space before it; then the longest tokens that spell it.
        return ids if b"".join(self.tokens[index] for index in ids) == wanted else self._longest(wanted)

    def _longest(self, wanted: bytes) -> list[int]:
        ids, at = [], 0
        while at < len(wanted):
            length = next((n for n in range(self._most, 0, -1) if wanted[at : at + n] in self._by_bytes), 0)
            if not length:
                raise ValueError(f"no token spells {wanted[at:]!r}")
            ids.append(self._by_bytes[wanted[at : at + length]])
            at += min(length, len(wanted) - at)
        return ids

    @cached_property
    def _by_bytes(self) -> dict[bytes, int]:
        special = set(self.special_token_ids)
        return {token: index for index, token in reversed(list(enumerate(self.tokens))) if index not in special}

    @cached_property
    def _most(self) -> int:
        return max(map(len, self._by_bytes))


def _grammar_text(llguidance: Any, constraint: Constraint) -> str:
    make = llguidance.LLMatcher
    if constraint.kind == "json_schema":
        return _schema_text(llguidance, json.loads(constraint.text))
    if constraint.kind == "regex":
        return str(make.grammar_from_regex(_ASCII_ESCAPE.sub(_in_ascii, constraint.text)))
    if constraint.kind == "choices":
        return "start: " + " | ".join(json.dumps(text) for text in json.loads(constraint.text))
    return str(make.grammar_from_lark(_with_expressible(constraint.text)))


def _schema_text(llguidance: Any, schema: Any) -> str:
    text = json.dumps(expressible(schema))
    return str(llguidance.LLMatcher.grammar_from_json_schema(text, overrides={"whitespace_pattern": WHITE_SPACE}))


def _with_expressible(lark: str) -> str:
    """The same grammar, its JSON schemas as a grammar can have them."""
    made, at = "", 0
    for found in _JSON_IN_LARK.finditer(lark):
        if found.end() < at:
            continue
        try:
            schema, end = json.JSONDecoder().raw_decode(lark, found.end())
        except ValueError:
            continue  # llguidance says what is wrong
        name = schema.pop(NAMED, None)
        options = {"x-guidance": schema.pop("x-guidance")} if schema.get("x-guidance") == JSON_OPTIONS else {}
        try:
            written = expressible(schema)
        except ConfigError as error:
            raise ConfigError(f"{name}: {error.message}" if name else error.message, hint=error.hint) from None
        if written is False:
            raise ConfigError(f"no JSON fulfils {f'the schema of {name}' if name else 'a schema of this grammar'}")
        made += lark[at : found.end()] + json.dumps({**(written if isinstance(written, dict) else {}), **options})
        at = end
    return made + lark[at:]


def _in_ascii(escape: re.Match[str]) -> str:
    return _ASCII.get(escape[1], escape[0])


def _inexpressible(named: str, reason: str, place: str = "") -> ConfigError:
    if named != "json schema":
        return ConfigError(f"this {named} cannot be used: {reason[:_LONGEST_REASON]}")
    reason = reason.partition(" Enable '")[0]  # options of llguidance's, which nobody can set from here
    return ConfigError(f"this {named} cannot be expressed as a grammar{place}: {reason[:_LONGEST_REASON]}", hint=HINT)


def _reason(matcher: Any) -> str:
    """What llguidance says, without its state and stack that follow in tags."""
    return re.split(r"\s*<(?:state|backtrace|grammar)>", str(matcher.get_error()))[0].strip()
