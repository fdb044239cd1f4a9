"""The routes beside those that converse: /v1/tokenize, /detokenize, /apply-template, /embeddings and so on."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request

from tutelage.inference.embedding import mean_states
from tutelage.inference.language_model import LanguageModel
from tutelage.serving import metrics
from tutelage.serving.body import read_body
from tutelage.serving.conversations import conversation_ids
from tutelage.serving.desk import Desk, Going
from tutelage.serving.faults import ApiError
from tutelage.serving.messages import ChatMessage
from tutelage.serving.protocol import Limits, at_most, check_ids, read, served_model
from tutelage.serving.text_protocol import (
    ChoiceQuestion,
    DecisionRequest,
    DetokenizeRequest,
    EmbeddingRequest,
    PredicateQuestion,
    TemplateRequest,
    TokenizeRequest,
    TranslationRequest,
)
from tutelage.serving.translating import translated
from tutelage.tokenizer.chat import render_chat, rendered_text
from tutelage.tokenizer.messages import Message


def add_text_routes(
    app: FastAPI, lms: Mapping[str, LanguageModel], classifiers: Mapping[str, LanguageModel], limits: Limits, desk: Desk
) -> None:
    """Add the routes; /v1/decisions only where there is a classifier."""

    @app.post("/v1/tokenize")
    async def tokenize(request: Request) -> dict[str, Any]:
        wanted = read(TokenizeRequest, await read_body(request, limits))
        lm = lms[served_model(wanted.model, lms)]
        return await desk.do(lambda _: _tokenized(lm, wanted, limits), request.is_disconnected)

    @app.post("/v1/detokenize")
    async def detokenize(request: Request) -> dict[str, Any]:
        wanted = read(DetokenizeRequest, await read_body(request, limits))
        lm = lms[served_model(wanted.model, lms)]
        check_ids("tokens", wanted.tokens, lm.tokenizer.vocab_size)
        return await desk.do(
            lambda _: {"prompt": lm.tokenizer.decode(wanted.tokens, skip_special=False)}, request.is_disconnected
        )

    @app.post("/v1/apply-template")
    async def apply_template(request: Request) -> dict[str, Any]:
        wanted = read(TemplateRequest, await read_body(request, limits))
        lm = lms[served_model(wanted.model, lms)]
        return await desk.do(lambda _: _templated(lm, wanted, limits), request.is_disconnected)

    @app.post("/v1/embeddings")
    async def embeddings(request: Request) -> dict[str, Any]:
        wanted = read(EmbeddingRequest, await read_body(request, limits))
        lm = lms[served_model(wanted.model, lms)]
        wanted.check(limits)
        return await desk.do(lambda going: _embedded(lm, wanted, limits, going), request.is_disconnected)

    @app.post("/v1/translate")
    async def translate(request: Request) -> dict[str, Any]:
        wanted = read(TranslationRequest, await read_body(request, limits))
        lm = lms[served_model(wanted.model, lms)]
        wanted.check(limits)
        return await desk.do(lambda going: translated(lm, wanted, limits, going), request.is_disconnected)

    if classifiers:

        @app.post("/v1/decisions")
        async def decisions(request: Request) -> dict[str, Any]:
            wanted = read(DecisionRequest, await read_body(request, limits))
            lm = classifiers[served_model(wanted.model, classifiers)]
            return await desk.do(lambda _: _decided(lm, wanted), request.is_disconnected)


def _turns(messages: list[ChatMessage], limits: Limits) -> list[Message]:
    at_most("messages", len(messages), limits.messages, "messages")
    return [message.message() for message in messages]


def _tokenized(lm: LanguageModel, wanted: TokenizeRequest, limits: Limits) -> dict[str, Any]:
    if wanted.messages is not None:
        ids = conversation_ids(lm, _turns(wanted.messages, limits))
    else:
        text = wanted.prompt or ""
        ids = lm.prompt_ids(text) if wanted.add_special_tokens else lm.tokenizer.encode(text)
    shown = [lm.tokenizer.decode([one], skip_special=False) for one in ids] if wanted.return_token_strs else None
    return {"count": len(ids), "max_model_len": lm.context, "tokens": ids, "token_strs": shown}


def _templated(lm: LanguageModel, wanted: TemplateRequest, limits: Limits) -> dict[str, Any]:
    turns = _turns(wanted.messages, limits)
    # What chat refuses is refused here too.
    render_chat(lm.tokenizer, turns, wanted.add_generation_prompt)
    if any(turn.name for turn in turns):
        conversation_ids(lm, turns)
    template = lm.tokenizer.chat_template
    assert template is not None
    texts = [turn.content for turn in turns]
    return {"prompt": rendered_text(lm.tokenizer, template, turns, texts, wanted.add_generation_prompt)}


def _embedded(lm: LanguageModel, wanted: EmbeddingRequest, limits: Limits, going: Going) -> dict[str, Any]:
    size = lm.config.hidden_size
    if wanted.dimensions not in (None, size):
        raise ApiError(400, f"dimensions: an embedding of this model has {size}, no other number", "dimensions")
    rows, total = [], 0
    for number, text in enumerate(wanted.texts):
        if isinstance(text, list):
            check_ids("input", text, lm.tokenizer.vocab_size)
        # Ids get the token before them that a text gets: it is read and not counted.
        ids = lm.prompt_ids(text) if isinstance(text, str) else [lm.tokenizer.start_id, *text]
        if len(ids) > lm.context:
            message = f"input: text {number} has {len(ids)} tokens, but the context of the model holds {lm.context}"
            raise ApiError(400, message, "input", "context_length_exceeded")
        if len(ids) < 2:
            raise ApiError(400, f"input: text {number} has no tokens", "input")
        rows.append(ids)
        total += len(ids)
    at_most("input", total, limits.input_tokens, "tokens in all")
    vectors = mean_states(lm.model, rows, going=going).numpy().astype("<f4")
    metrics.count_tokens(total, 0)
    packed = wanted.encoding_format == "base64"
    shown = [base64.b64encode(one.tobytes()).decode() if packed else one.tolist() for one in vectors]
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": at, "embedding": one} for at, one in enumerate(shown)],
        "model": wanted.model,
        "usage": {"prompt_tokens": total, "total_tokens": total},
    }


def _decided(lm: LanguageModel, wanted: DecisionRequest) -> dict[str, Any]:
    labels = labels_of(lm)
    for at, question in enumerate(wanted.questions):
        _check_question(question, labels, lm.config.multi_label, f"questions.{at}")
    (ids,), (probability,) = lm.read([wanted.input]), lm.classify([wanted.input])
    metrics.count_tokens(len(ids), 0)
    answers = []
    for question in wanted.questions:
        if isinstance(question, PredicateQuestion):
            answers.append({"type": "predicate", "name": question.name, "probability": probability[question.name]})
            continue
        each = [{"value": one.value, "probability": probability[one.value]} for one in question.choices]
        best = max(probability, key=probability.__getitem__)
        more = {"choice": best, "confidence": probability[best], "probabilities": each}
        answers.append({"type": "choice", "name": question.name, **more})
    usage = {
        "input_tokens": len(ids),
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": len(ids),
    }
    return {"answers": answers, "model": wanted.model, "usage": usage}


def labels_of(classifier: LanguageModel) -> tuple[str, ...]:
    return classifier.config.labels or tuple(f"LABEL_{at}" for at in range(classifier.config.num_labels))


def _check_question(
    question: ChoiceQuestion | PredicateQuestion, labels: tuple[str, ...], several: bool, where: str
) -> None:
    known = f"this classifier knows {', '.join(map(repr, labels))}"
    if isinstance(question, PredicateQuestion):
        if question.name not in labels:
            raise ApiError(400, f"{where}.name: {known}", f"{where}.name")
        return
    if several:
        message = f"{where}.type: a text may have several of this classifier's labels; ask a predicate for each"
        raise ApiError(400, message, f"{where}.type")
    if sorted(one.value for one in question.choices) != sorted(labels):
        raise ApiError(400, f"{where}.choices: {known}, and all are to be given once", f"{where}.choices")
