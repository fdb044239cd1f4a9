"""POST /v1/translate: texts as a model was taught to translate them, documents sentence by sentence."""

from __future__ import annotations

from typing import Any

from tutelage.corpus.sentences import split_sentences
from tutelage.inference.language_model import LanguageModel
from tutelage.inference.sampling import Sampling
from tutelage.inference.search import Beam
from tutelage.serving import metrics
from tutelage.serving.desk import Going
from tutelage.serving.faults import ApiError
from tutelage.serving.protocol import Limits, at_most
from tutelage.serving.text_protocol import TranslationRequest

TOGETHER = 8  # texts translated between two looks at whether the answer is still wanted
LONGEST = 128


def translated(lm: LanguageModel, wanted: TranslationRequest, limits: Limits, going: Going) -> dict[str, Any]:
    """The answer. Raises ConfigError for a model that was not taught to, InputError for a text past the context."""
    most = min(wanted.max_tokens or LONGEST, limits.max_tokens)
    how: Sampling | Beam = Sampling(max_tokens=most)
    if (wanted.beams or 1) > 1:
        penalty = 1.0 if wanted.length_penalty is None else wanted.length_penalty
        how = Beam(wanted.beams or 1, most, penalty)
    documents = [_parts(text) if wanted.split else [[text]] for text in wanted.texts]
    asked = [part for lines in documents for line in lines for part in line]
    at_most("input", len(asked), limits.texts, "sentences" if wanted.split else "texts")
    prompts = lm.translation_prompts(asked, wanted.target)
    read = sum(map(len, prompts))
    at_most("input", read, limits.input_tokens, "tokens in all")
    made = []
    for at in range(0, len(prompts), TOGETHER):
        if not going():
            raise ApiError(499, "the client closed the connection")
        some = prompts[at : at + TOGETHER]
        made += [found[0] for found in lm.search(some, how)] if isinstance(how, Beam) else lm.generate(some, how)
    said = sum(len(one.ids) for one in made)
    metrics.count_tokens(read, said)
    answers, rest = [], iter(made)
    for index, lines in enumerate(documents):
        parts = [[next(rest) for _ in line] for line in lines]
        cut = any(one.stop_reason == "length" for line in parts for one in line)
        text = "\n".join(" ".join(one.text.strip() for one in line) for line in parts)
        if not wanted.split:
            text = parts[0][0].text
        answers.append({"index": index, "text": text, "finish_reason": "length" if cut else "stop"})
    return {
        "object": "list",
        "data": answers,
        "model": wanted.model,
        "usage": {"prompt_tokens": read, "completion_tokens": said, "total_tokens": read + said},
    }


def _parts(document: str) -> list[list[str]]:
    """The sentences of each line."""
    return [split_sentences(line.strip()) for line in document.split("\n")]
