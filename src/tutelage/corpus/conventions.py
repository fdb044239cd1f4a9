"""The conventions of PEP 257 for a one-line description, as a checkable rule.

PEP 257: "The docstring is a phrase ending in a period. It prescribes the function or method's effect as a
command ("Do this", "Return that"), not as a description; e.g. don't write "Returns the pathname ..."." and
"The one-line docstring should NOT be a "signature" reiterating the function/method parameters".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from tutelage.corpus.sentences import split_sentences, word_set

RULES = {
    "one_line": "is one line, and not empty",
    "ends_in_period": "is exactly one sentence, and ends in a period",
    "says_what_it_does": "begins with a verb in the imperative and has 3 to 20 words",
    "no_repetition": "repeats no three words in a row, and no word twice in a row",
    "not_the_signature": "says more than the name and the arguments say, and does not spell out a call",
}

# Common verbs of one-line descriptions, in the imperative.
IMPERATIVES = word_set("""
    ask benchmark constrain customize isolate pretty-print re-raise replay shard subscribe unbind unify
    abort accept access accumulate acquire activate adapt add adjust advance aggregate align allocate
    allow alter analyse analyze animate annotate answer append apply approximate arrange assemble assert
    assign associate assume attach attempt authenticate average balance begin bind block blur bootstrap
    break broadcast bring build bump cache calculate call cancel canonicalize capture carry cast catch
    center centre chain change check choose clamp classify clean clear click clip clone close cluster
    coerce collapse collect color colour combine come commit compare compile complete compose compress
    compute concatenate configure confirm connect consider construct consume contain continue contract
    convert convolve coordinate copy correct count cover create crop cut cycle deactivate debug decide
    declare decode decompose decompress decorate decrement decrypt deduce defer define delegate delete
    deliver denote depict derive descend describe deserialize destroy detach detect determine
    differentiate disable discard disconnect discover dispatch display dissolve distribute divide do
    double download downsample draw drop dump duplicate edit eliminate embed emit emulate enable
    encapsulate encode encrypt end enforce ensure enter enumerate erase escape establish estimate evaluate
    examine exchange exclude execute exit expand expect explain explore export expose express extend
    extract fail fall factor factorize feed fetch fill filter finalize find finish fire fit fix flag
    flatten flip flush fold follow force format forward free freeze fuse gather generate get give go grab
    group grow guarantee guess guard handle hash have help hide highlight hold hook identify ignore
    implement import improve include increase increment indent index indicate infer inform inherit
    initialise initialize inject inline insert inspect install instantiate integrate intercept interpolate
    interpret interrupt intersect introduce invalidate invert invoke issue iterate join jump keep kill
    label launch lay leave let lift limit linearize link list listen load locate lock log look lower make
    manage map mark mask match materialize maximize measure merge migrate mimic minimize mirror mix modify
    monitor move multiply mutate negate normalise normalize note notify obtain offer omit open operate
    optimize order orthogonalize output override overwrite pack pad paint parse partition pass paste patch
    pause peek perform permute persist pick pickle place plot poll pop populate post postprocess
    precompute predict prefetch prepare prepend preprocess preserve press prevent print probe process
    produce project promote prompt propagate provide prune publish pull purge push put quantize query
    queue quit quote raise randomize rank read realize rearrange rebuild receive recognize recompute
    reconstruct record recover redirect reduce refer refine reflect refresh regenerate register reindex
    reinitialize reject relabel release reload remap remember remove rename render reorder repeat replace
    reply report represent reproduce request require resample rescale reserve reset reshape resize resolve
    respond restart restore restrict resume retrieve retry return reuse reverse revert rewrite roll rotate
    round route run sample sanitize save say scale scan scatter schedule score scroll search see seek
    select send separate serialize serve set shift show shuffle shut shutdown shrink sift sign signal
    simplify simulate skip slice smooth snapshot solve sort specialize specify split spawn squeeze stack
    start stop store stream stringify strip style subclass submit substitute subtract suggest sum
    summarise summarize supply support suppress suspend swap switch symmetrize sync synchronise
    synchronize synthesize tag take tell terminate test throw tie toggle tokenize trace track train
    transfer transform transition translate transpose traverse treat trigger trim truncate try tune turn
    unescape unflatten uninstall union unite unlink unload unlock unmap unpack unpickle unquote unregister
    unset unwrap update upgrade upload upsample use validate verify view visit visualize wait wake walk
    warn watch weight widen wrap write yield zero zip
""")
_FILLERS = word_set("""
    a an the of for to in on by with from and or is this that it its if as at
""")
_WORD = re.compile(r"[A-Za-z0-9]+(?:['’-][A-Za-z0-9]+)*")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which rules a description keeps, and the share of them, 0 to 1."""

    score: float
    passed: dict[str, bool]


def check(text: str, name: str, signature: str) -> Verdict:
    """Judge a one-line description of the callable `name` with `signature`. Pure; any text is allowed."""
    passed = {
        "one_line": bool(text.strip()) and "\n" not in text and "\r" not in text,
        "ends_in_period": _is_one_sentence(text),
        "says_what_it_does": _is_command(text),
        "no_repetition": bool(text.strip()) and not _repeats(text),
        "not_the_signature": _says_more(text, name, signature),
    }
    return Verdict(sum(passed.values()) / len(passed), passed)


def _is_one_sentence(text: str) -> bool:
    plain = text.strip()
    return plain.endswith(".") and not plain.endswith("..") and len(split_sentences(" ".join(plain.split()))) == 1


def _is_command(text: str) -> bool:
    tokens = _WORD.findall(text)
    if not 3 <= len(tokens) <= 20 or not tokens[0][0].isupper():
        return False
    verb = tokens[1] if tokens[0].endswith("ly") or tokens[0] == "Also" else tokens[0]
    # "Returns" is not in the list, nor is an article or a pronoun; "Re-raise" and "Pretty-print" end in a
    # verb.
    return verb.lower() in IMPERATIVES or verb.lower().rsplit("-", 1)[-1] in IMPERATIVES


def _repeats(text: str) -> bool:
    tokens = [word.lower() for word in _WORD.findall(text)]
    if any(left == right for left, right in pairwise(tokens)):
        return True
    trigrams = list(zip(tokens, tokens[1:], tokens[2:], strict=False))
    return len(set(trigrams)) < len(trigrams)


def _says_more(text: str, name: str, signature: str) -> bool:
    """Whether a content word is in neither name nor signature, and the text does not call the name."""
    short = name.rsplit(".", 1)[-1]
    if short and re.search(rf"(?<!\w){re.escape(short)}\s?\(", text):
        return False
    given = {_stem(part) for part in _PART.findall(f"{short} {signature}")}
    content = {_stem(word) for word in _WORD.findall(text) if word.lower() not in _FILLERS}
    return bool(content - given)


def _stem(word: str) -> str:
    """A word without the ending of a plural or a third person, so that `edge` covers `edges`."""
    word = word.lower()
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 3 else word
