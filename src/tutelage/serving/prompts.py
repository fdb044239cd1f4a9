"""The prompts of /v1/completions: their ids, and what of them is given back with `echo`."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.inference.language_model import LanguageModel
from tutelage.inference.scoring import token_scores
from tutelage.serving.completion_protocol import CompletionRequest
from tutelage.serving.desk import Going
from tutelage.serving.entries import Prompted, prompt_entries
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


def echoes(lm: LanguageModel, wanted: CompletionRequest, limits: Limits, going: Going) -> list[Prompted]:
    """What stands before the answers to each prompt. Where nothing is to be made, with the log-probabilities that are
    wanted; else these are known when the prompt has been read for the answer."""
    made = []
    for given, ids in zip(wanted.prompts, prompt_ids(lm, wanted, limits), strict=True):
        text = given if isinstance(given, str) else lm.tokenizer.decode(ids, skip_special=False)
        made.append(Prompted(text, ids, begun=isinstance(given, str)))
    if wanted.max_tokens == 0 and wanted.wants_logprobs:
        scores = token_scores(lm.model, [one.ids for one in made], wanted.logprobs or 0, going)
        for one, theirs in zip(made, scores, strict=True):
            one.entries = prompt_entries(lm, one, theirs)
    return made
