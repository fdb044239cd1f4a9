"""Self-test of a model before it is measured, because a faulty adapter gives plausible but wrong figures."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from dataclasses import dataclass

from tutelage.evaluation.bench.cache import VERSION, AnswerCache
from tutelage.evaluation.bench.protocol import Ask, Likelihood, Measured, Pair, Roll, Written
from tutelage.store.errors import ConfigError, InputError
from tutelage.store.hashing import sha256_json

_CONTEXT = "The quick brown fox jumps over the lazy dog. The dog sleeps, and the fox"
_ENDINGS = (" runs away", " is quick", " jumps", " eats the dog's bone")
_FILLER = "In the year after the war the old house by the river stood empty, and nobody came to live there. "
_TEXT = "The old house stood by the river."
_LETTERS = tuple(f" {letter}" for letter in string.ascii_letters + string.digits)  # none is a prefix of another


@dataclass(frozen=True)
class Check:
    """One condition that must hold; `said` describes the finding."""

    name: str
    passed: bool
    said: str


def self_test(model: Measured) -> list[Check]:
    """Run all checks that apply to a model; takes about a second for a small one."""
    checks = [*_tokens(model)]
    if model.likelihoods:
        checks += [
            _batches(model), _padding(model), _prefix(model), _context(model), _probabilities(model), *_greedy(model),
        ]  # fmt: skip
        if model.empty_context:
            checks.append(_rolling(model))
    return checks


def require_right(model: Measured, cache: AnswerCache) -> None:
    """Test a model unless a pass is cached. Raises ConfigError like `refuse_wrong`."""
    key = sha256_json(["self-test", VERSION, model.identity, model.tokenizer, model.precision])
    if not cache.get([key]):
        refuse_wrong(self_test(model), model.name)
        cache.put([(key, Written("passed", True))])


def refuse_wrong(checks: Sequence[Check], name: str) -> None:
    """Raise ConfigError with the failed checks, if there are any."""
    wrong = [check for check in checks if not check.passed]
    if wrong:
        said = "; ".join(f"{check.name}: {check.said}" for check in wrong)
        raise ConfigError(
            f"{name} failed the self-test, so its scores would be wrong: {said}",
            hint="fix the adapter or the server, or skip the test with --no-self-test",
        )


def tolerance(model: Measured, tokens: int) -> float:
    """Largest allowed difference between two computations of the log-probability of this many tokens."""
    one = 2e-4 if model.precision == "float32" else 5e-2
    return one * max(4.0, tokens) if model.precision == "float32" else one * max(2.0, math.sqrt(tokens)) * 2


def _tokens(model: Measured) -> list[Check]:
    try:
        ids = model.encode(_TEXT)
    except (ConfigError, NotImplementedError):
        return []
    doubled = len(ids) > 1 and ids[0] == ids[1]
    start = Check("start token", not doubled, "added twice to a text" if doubled else "added once at most")
    text = model.decode(ids)
    # Lower-casing or dropping a space is up to the tokenizer; losing words is a fault of the adapter.
    same = "".join(text.split()).lower() == "".join(_TEXT.split()).lower()
    return [start, Check("round trip", same, "text is preserved" if same else f"{_TEXT!r} decodes to {text[:60]!r}")]


def _pairs() -> list[Pair]:
    return [Pair(_CONTEXT, ending) for ending in _ENDINGS]


def _same(model: Measured, name: str, first: Sequence[Likelihood], second: Sequence[Likelihood], what: str) -> Check:
    worst = max(abs(a.logprob - b.logprob) for a, b in zip(first, second, strict=True))
    allowed = max(tolerance(model, one.tokens) for one in first)
    good = worst <= allowed
    return Check(name, good, f"{what} differ by {worst:.2g}" + ("" if good else f", more than {allowed:.2g}"))


def _batches(model: Measured) -> Check:
    alone = [model.score([pair])[0] for pair in _pairs()]
    return _same(model, "batch invariance", alone, model.score(_pairs()), "scores alone and in a batch")


def _padding(model: Measured) -> Check:
    pairs, long = _pairs(), Pair(_FILLER * 3, " The end")
    mixed = model.score([pairs[0], long, pairs[2], Pair("A", " b"), pairs[3]])
    alone = model.score([pairs[0], pairs[2], pairs[3]])
    return _same(model, "padding", alone, [mixed[0], mixed[2], mixed[4]], "scores beside short and beside long texts")


def _prefix(model: Measured) -> Check:
    """p(ab | c) = p(a | c) p(b | ca)."""
    whole, first = model.score([Pair(_CONTEXT, " runs away from the dog"), Pair(_CONTEXT, " runs away")])
    rest = model.score([Pair(_CONTEXT + " runs away", " from the dog")])[0]
    parts = Likelihood(first.logprob + rest.logprob, first.tokens + rest.tokens, True)
    # The rule does not apply if the tokenizer splits the two differently or the context is too short.
    if whole.tokens != parts.tokens or whole.cut or first.cut or rest.cut:
        return Check("prefix equality", True, "not applicable to this tokenizer or context")
    return _same(model, "prefix equality", [whole], [parts], "a continuation and the sum of its two parts")


def _context(model: Measured) -> Check:
    after, other = model.score([Pair(_CONTEXT, " runs away"), Pair("Two and two make four. He", " runs away")])
    differ = abs(after.logprob - other.logprob) > 1e-9
    return Check("context", differ, "used" if differ else "the score does not depend on it")


def _probabilities(model: Measured) -> Check:
    scores = model.score([Pair(_CONTEXT, letter) for letter in _LETTERS])
    if any(score.logprob > 1e-3 or not math.isfinite(score.logprob) for score in scores):
        return Check("probabilities", False, f"a log-probability is {max(score.logprob for score in scores):.3g}")
    total = sum(math.exp(score.logprob) for score in scores)
    good = total <= 1 + 1e-3
    return Check("probabilities", good, f"{len(scores)} disjoint continuations have a total probability of {total:.3g}")


def _greedy(model: Measured) -> list[Check]:
    """Greedy generation agrees with the greedy flag of scoring."""
    try:
        written = model.generate([Ask(_CONTEXT, max_tokens=4)])[0].text
    except (InputError, NotImplementedError):
        return []
    if not written.strip() or "\ufffd" in written:
        return []
    score = model.score([Pair(_CONTEXT, written)])[0]
    if score.tokens != 4 or score.greedy:
        return [Check("greedy", True, "generates its likeliest tokens")]
    if model.precision != "float32":
        return []  # two tokens may tie in low precision
    return [Check("greedy", False, f"it generates {written!r}, which is not the likeliest text by its scores")]


def _rolling(model: Measured) -> Check:
    whole = model.rolling([Roll(_TEXT)])[0]
    pair = model.score([Pair("", _TEXT)])[0]
    if whole.tokens != pair.tokens:
        return Check(
            "rolling", False, f"a text has {whole.tokens} tokens as a document, {pair.tokens} as a continuation"
        )
    return _same(model, "rolling", [whole], [pair], "a text as a document and as a continuation of nothing")
