"""The prompts of /v1/completions: their ids, and what of them is given back with `echo`."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.inference.language_model import LanguageModel
from tutelage.inference.scoring import token_scores
from tutelage.inference.text import TextStream
from tutelage.serving.answers import Prompted, token_entry
from tutelage.serving.completion_protocol import CompletionRequest
from tutelage.serving.desk import Going
from tutelage.serving.faults import ApiError
from tutelage.serving.protocol import Limits, at_most, check_ids


def prompt_ids(lm: LanguageModel, wanted: CompletionRequest, limits: Limits) -> list[list[int]]:
    """The ids of each prompt: a text as the beginning of a document, ids as they are. Raises ApiError for one that
    leaves no room for an answer (where none is to be made, it may fill the context), and for several that together are
    more than the server allows."""
    made: list[list[int]] = []
    for number, given in enumerate(wanted.prompts):
        where = "prompt" if len(wanted.prompts) == 1 else f"prompt.{number}"
        if isinstance(given, str):
            ids = lm.prompt_ids(given)
        else:
            check_ids(where, given, lm.tokenizer.vocab_size)
            ids = given
        check_fits(ids, lm.context, where, answered=wanted.max_tokens != 0)
        check_longest(ids, lm.context, *wanted.longest, limits)
        made.append(ids)
    if len(made) > 1:
        at_most("prompt", sum(map(len, made)), limits.input_tokens, "tokens in all")
    return made


def check_fits(ids: Sequence[int], context: int, where: str, answered: bool = True) -> None:
    """Raise ApiError for a prompt that is longer than the context, or leaves no room in it for an answer."""
    if len(ids) < context + (not answered):
        return
    left = ", of which one at least must be left for the answer" if answered else ""
    name = f"the prompt {where}" if where.startswith("prompt.") else "the prompt"
    raise ApiError(
        400,
        f"{name} has {len(ids)} tokens, but the context of the model holds {context}{left}; "
        "nothing is cut off silently",
        where,
        "context_length_exceeded",
    )


def check_longest(ids: Sequence[int], context: int, field: str, asked: int | None, limits: Limits) -> None:
    """Raise ApiError for an answer that might get longer than the server allows. Where the context ends before that,
    any number can be kept to."""
    if asked is not None and min(asked, context - len(ids)) > limits.max_tokens:
        raise ApiError(400, f"{field}: {asked} tokens asked for, this server allows {limits.max_tokens}", field)


def echoes(lm: LanguageModel, wanted: CompletionRequest, limits: Limits, going: Going) -> tuple[int, list[Prompted]]:
    """How many tokens the prompts have, and what stands before the answers to each."""
    rows = prompt_ids(lm, wanted, limits)
    texts = [
        one if isinstance(one, str) else lm.tokenizer.decode(ids, skip_special=False)
        for one, ids in zip(wanted.prompts, rows, strict=True)
    ]
    if not wanted.wants_logprobs:
        return sum(map(len, rows)), [Prompted(text, None) for text in texts]
    made = []
    for given, text, ids, scores in zip(
        wanted.prompts, texts, rows, token_scores(lm.model, rows, wanted.logprobs or 0, going), strict=True
    ):
        # What begins a document stands before a text and is none of it: the first token of the text has a probability,
        # but as in OpenAI's API none is given.
        begun = isinstance(given, str)
        shown, told = (ids[1:], scores[1:]) if begun else (ids, scores)
        starts = _starts(lm, shown, len(text))
        entries = [token_entry(lm, shown[0], None, (), starts[0])] if shown else []
        for token, score, start in zip(shown[1:], told, starts[1:], strict=True):
            entries.append(token_entry(lm, token, score.logprob, score.top, start))
        made.append(Prompted(text, entries))
    return sum(map(len, rows)), made


def _starts(lm: LanguageModel, ids: Sequence[int], length: int) -> list[int]:
    """Where in a text of that length each token begins: one within a character where that does."""
    stream = TextStream(lambda some: lm.tokenizer.decode(some, skip_special=False), lm.tokenizer.token_bytes)
    starts, done = [], 0
    for token in ids:
        starts.append(min(done, length))  # a tokenizer may change the text (white space, case)
        done += len(stream.feed(token))
    return starts
