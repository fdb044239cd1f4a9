"""Docstring writing: the signature of a documented callable in, its one-line summary out.

The examples come from a corpus of documented code. An answer is graded by the conventions of PEP 257 for a
one-line description: "The docstring is a phrase ending in a period. It prescribes the function or method's effect as a
command ("Do this", "Return that"), not as a description" and "The one-line docstring should NOT be a "signature"
reiterating the function/method parameters". Pure functions; no files, no model.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from tutelage.corpus.sentences import split_sentences, word_set
from tutelage.store.hashing import by_hash, sha256_text
from tutelage.tasks.task import Examples, Grade, Row, Task

# `{call}` is the signature as in the code, `{where}` the module or class that contains it. Several phrasings, so that
# the model learns the task and not a fixed prompt.
PHRASINGS = (
    "Write a one-line docstring for `{call}`.",
    "What does `{call}` do? Answer in one line.",
    "Describe `{call}` in one sentence.",
    "Summarize `{call}` of {where}.",
    "Document this Python code in one line:\n{call}",
    "In {where} there is `{call}`. What is it for?",
)
_NEEDS_PLACE = tuple("{where}" in phrasing for phrasing in PHRASINGS)

MIN_WORDS, MAX_WORDS, MAX_SIGNATURE = 4, 25, 160
_MARKUP = re.compile(r":\w+:`|``|`_|::|\.\. |\|\w|[<>\\{}\[\]*#=]|https?:|>>>|__")
_SENTENCE_BREAK = re.compile(r"[.!?]\s+[A-Z]")
_LETTERS = re.compile(r"[a-z0-9]+")
_FUNCTION_WORDS = frozenset(
    ("a", "an", "the", "of", "for", "to", "in", "on", "and", "or", "this", "that", "is", "it", "its", "with",
     "from", "by", "as", "self", "object")
)  # fmt: skip


def response_of(summary: str) -> str:
    """The summary as a training answer: one line, with ``x`` as `x`."""
    return re.sub(r"``([^`]*)``", r"`\1`", " ".join(summary.split()))


def why_unfit(response: str, name: str, signature: str) -> str | None:
    """Why a pair is unsuitable for training; None if it is suitable."""
    words = response.split()
    if len(signature) > MAX_SIGNATURE:
        return "signature too long"
    if not MIN_WORDS <= len(words) <= MAX_WORDS:
        return f"not {MIN_WORDS} to {MAX_WORDS} words"
    if not response.isascii():
        return "not ASCII"
    if not response[0].isupper() or not response.endswith(".") or response.endswith(("..", "e.g.", "i.e.")):
        return "no capital at the start or no period at the end"
    if _SENTENCE_BREAK.search(response):
        return "more than one sentence"
    if _MARKUP.search(response) or response.count("(") != response.count(")"):
        return "markup"
    letters = sum(character.isalpha() or character == " " for character in response)
    if letters < 0.85 * len(response):
        return "mostly not letters"
    said = set(_LETTERS.findall(response.lower())) - _FUNCTION_WORDS
    if said <= set(_LETTERS.findall(_spaced(name).lower())):
        return "repeats the name"
    return None


def prompt_of(identity: str, name: str, signature: str) -> str:
    """The prompt of a row, with a phrasing chosen by a hash of its id."""
    call = " ".join(signature.split())
    where = name.rpartition(".")[0]
    allowed = [phrasing for phrasing, needed in zip(PHRASINGS, _NEEDS_PLACE, strict=True) if where or not needed]
    choice = int(sha256_text(f"phrasing:{identity}")[:8], 16) % len(allowed)
    return allowed[choice].format(call=call, where=where)


def normalised(text: str) -> str:
    """Normal form for duplicate detection: letters and digits only, and "Returns" equals "Return"."""
    words = _LETTERS.findall(text.lower())
    return " ".join([word.rstrip("s") for word in words[:1]] + words[1:])


def docstring_pairs(
    rows: Iterable[Mapping[str, Any]], seed: int, unseen: Iterable[str] = ()
) -> tuple[list[Row], Counter[str]]:
    """Pairs in hash order, and numbers of dropped rows by reason.

    A pair is {"id","prompt","response","name","signature"}. Responses are distinct, and none is in `unseen`: pass the
    responses of the training pairs there to make held-out ones.
    """
    removed: Counter[str] = Counter()
    seen = {normalised(response) for response in unseen}
    trained = frozenset(seen)
    documented = [
        {key: str(row[key]) for key in ("id", "name", "signature", "summary")}
        for row in rows
        if row.get("signature") and row.get("summary") and row.get("name")
    ]
    pairs: list[Row] = []
    for row in by_hash(documented, seed):
        name, signature = row["name"], row["signature"]
        response = response_of(row["summary"])
        reason = why_unfit(response, name, signature)
        key = normalised(response)
        if reason is None and key in seen:
            reason = "duplicate of a training response" if key in trained else "duplicate response"
        if reason is not None:
            removed[reason] += 1
            continue
        seen.add(key)
        prompt = prompt_of(row["id"], name, signature)
        pairs.append({"id": row["id"], "prompt": prompt, "response": response, "name": name, "signature": signature})
    return pairs, removed


def _spaced(name: str) -> str:
    """`networkx.shortestPath` -> `networkx shortest Path`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[._]", " ", name)


RULES = {
    "one_line": "is one line, and not empty",
    "ends_in_period": "is exactly one sentence, and ends in a period",
    "says_what_it_does": "begins with a verb in the imperative and has 3 to 20 words",
    "no_repetition": "repeats no three words in a row, and no word twice in a row",
    "not_the_signature": "says more than the name and the arguments, and does not repeat the call",
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


def check(text: str, name: str, signature: str) -> Grade:
    """Grade a one-line description of the callable `name` with `signature`; accepts any text."""
    passed = {
        "one_line": bool(text.strip()) and "\n" not in text and "\r" not in text,
        "ends_in_period": _is_one_sentence(text),
        "says_what_it_does": _is_command(text),
        "no_repetition": bool(text.strip()) and not _repeats(text),
        "not_the_signature": _says_more(text, name, signature),
    }
    return Grade(sum(passed.values()) / len(passed), passed)


def _is_one_sentence(text: str) -> bool:
    plain = text.strip()
    return plain.endswith(".") and not plain.endswith("..") and len(split_sentences(" ".join(plain.split()))) == 1


def _is_command(text: str) -> bool:
    tokens = _WORD.findall(text)
    if not 3 <= len(tokens) <= 20 or not tokens[0][0].isupper():
        return False
    verb = tokens[1] if tokens[0].endswith("ly") or tokens[0] == "Also" else tokens[0]
    # The list excludes "Returns", articles and pronouns; "Re-raise" and "Pretty-print" end in a verb.
    return verb.lower() in IMPERATIVES or verb.lower().rsplit("-", 1)[-1] in IMPERATIVES


def _repeats(text: str) -> bool:
    tokens = [word.lower() for word in _WORD.findall(text)]
    if any(left == right for left, right in pairwise(tokens)):
        return True
    trigrams = list(zip(tokens, tokens[1:], tokens[2:], strict=False))
    return len(set(trigrams)) < len(trigrams)


def _says_more(text: str, name: str, signature: str) -> bool:
    """Whether some content word is in neither name nor signature, and the text does not contain a call."""
    short = name.rsplit(".", 1)[-1]
    if short and re.search(rf"(?<!\w){re.escape(short)}\s?\(", text):
        return False
    given = {_stem(part) for part in _PART.findall(f"{short} {signature}")}
    content = {_stem(word) for word in _WORD.findall(text) if word.lower() not in _FILLERS}
    return bool(content - given)


def _stem(word: str) -> str:
    """A word without a plural or third-person ending, so that `edge` equals `edges`."""
    word = word.lower()
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 3 else word


def examples(train: Iterable[Row], heldout: Iterable[Row], seed: int) -> Examples:
    """Pairs of both splits; no held-out response occurs in training."""
    pairs, left_out = docstring_pairs(train, seed)
    held, also = docstring_pairs(heldout, seed, unseen=[pair["response"] for pair in pairs])
    return Examples(pairs, held, {"train": dict(left_out), "heldout": dict(also)})


def grade(answer: str, row: Row) -> Grade:
    """Grade an answer by the conventions of PEP 257."""
    return check(answer, str(row.get("name") or ""), str(row.get("signature") or ""))


def described(row: Row) -> str:
    """The text for nearest-neighbour search: the parts of name and signature."""
    return " ".join(_PART.findall(f"{row.get('name') or ''} {row.get('signature') or ''}")).lower()


TASK = Task(
    name="docstrings",
    title="docstring writing",
    kind="answers",
    columns=("id", "name", "signature", "summary"),
    examples=examples,
    grade=grade,
    rule="PEP 257 rule",
    described=described,
    references="the true docstrings",
    cautions=(
        "The rule checks the form of an answer, not its truth: the authors' own docstrings pass it in about half of "
        "all cases, so a model with a higher pass rate has learned the rule, not how to document.",
    ),
)
