"""A language model for callers: load, score, generate, chat, classify, save."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tutelage.inference.abilities import gives_rewards, require_labels, require_rewards, require_text
from tutelage.inference.choosing import TokenTable
from tutelage.inference.conversations import Messages, asking_ids, learned_window, translation_ids
from tutelage.inference.decoding import decode
from tutelage.inference.engine import Engine
from tutelage.inference.many import Majority, best_of, self_consistency
from tutelage.inference.pieces import Piece, Pieces, collected
from tutelage.inference.results import Generation, Score
from tutelage.inference.rewards import Ranked, reward_ids
from tutelage.inference.sampling import Sampling
from tutelage.inference.scoring import Window, last_scores, rolling_windows, target_logprobs
from tutelage.inference.search import Beam, Contrastive, Hypothesis, search_ids
from tutelage.inference.source import find_model
from tutelage.inference.speculation import Speculation, cannot
from tutelage.inference.text import TextStream
from tutelage.model.config import ModelConfig
from tutelage.model.decoder import DecoderLM
from tutelage.model.io import load_model, refuse_other_config, save_model, superseded
from tutelage.model.lora_config import Quantisation
from tutelage.model.pack import is_packed
from tutelage.store.device import Precision, choose_device, choose_precision
from tutelage.store.errors import ConfigError, DamagedError, InputError, nearest
from tutelage.store.files import replaced_files
from tutelage.tokenizer.calls import Tools
from tutelage.tokenizer.messages import Message, messages_from_plain
from tutelage.tokenizer.tokenizer import Tokenizer, superseded_tokenizer

GREEDY = Sampling()
DRAWN = Sampling(temperature=1.0)


class LanguageModel:
    """A decoder with its tokenizer. Results of a row do not depend on what else is in the call.

    A `str` is read as the beginning of a document: after the begin-of-text token or, if there is none, the end-of-text
    token, as in pretraining. All but `classify` raise ConfigError for a classifier.
    """

    def __init__(self, model: DecoderLM, tokenizer: Tokenizer) -> None:
        if tokenizer.vocab_size > model.config.vocab_size:
            raise DamagedError(
                f"the tokenizer has {tokenizer.vocab_size} ids, the model only {model.config.vocab_size}",
                hint="use the tokenizer that belongs to this model",
            )
        self.model, self.tokenizer = model.eval(), tokenizer
        self.adapters: dict[str, LanguageModel] = {}  # name -> a model that shares the weights, with that adapter
        self.stop_ids = tuple(sorted({*tokenizer.stop_ids, *model.config.eos_token_id}))
        self.table = TokenTable(model.config.vocab_size, self.stop_ids, tokenizer)
        self.speculation: Speculation | None = None  # see `speculate`

    def with_adapter(self, name: str) -> LanguageModel:
        """This model with one of its adapters, sharing the weights. Raises ConfigError with the nearest name."""
        if name not in self.adapters:
            raise ConfigError(f"the model has no adapter {name!r}", hint=nearest(name, self.adapters))
        return self.adapters[name]

    def speculate(self, draft: LanguageModel | None = None) -> Speculation:
        """Enable speculative decoding by prompt lookup, or with a smaller draft model. The output is unchanged; the
        returned object counts the drafts.

        Raises ConfigError for a model with delta layers, or a draft model of another vocabulary.
        """
        if (reason := cannot(self.config)) is not None:
            raise ConfigError(f"this model does not support speculation: {reason}", hint="leave it out")
        if draft is not None and not draft.tokenizer.same_tokens(self.tokenizer):
            raise ConfigError("the draft model has another vocabulary", hint="use a smaller model of the same family")
        self.speculation = (
            Speculation.lookup() if draft is None else Speculation.by(draft.model, self.tokenizer.vocab_size)
        )
        return self.speculation

    @property
    def config(self) -> ModelConfig:
        return self.model.config

    @property
    def device(self) -> torch.device:
        return self.model.embed_tokens.weight.device

    @property
    def context(self) -> int:
        """Context length in tokens, prompt and answer together."""
        return self.config.max_position_embeddings

    @property
    def is_reward_model(self) -> bool:
        """Whether its head returns a single score, the reward of a conversation."""
        return gives_rewards(self.config)

    def require_text(self) -> None:
        """Raise ConfigError for a classifier, whose language-model head is untrained or missing."""
        require_text(self.config)

    def logits(self, ids: Tensor | Sequence[Sequence[int]]) -> Tensor:
        """Next-token logits [B, T, vocab_size] float32 of ids [B, T]. Raises InputError past the context."""
        self.require_text()
        tokens = torch.as_tensor(ids, dtype=torch.int64, device=self.device)
        if tokens.dim() != 2:
            raise InputError(f"ids must be [rows, length], got shape {list(tokens.shape)}")
        self._check_length(tokens.shape[1], "the ids have")
        with torch.no_grad():
            return self.model(tokens)

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[Score]:
        """Log-likelihood of each continuation after its context, which may be empty.

        They are encoded separately, so that a context has the same tokens before every continuation; trailing white
        space of the context moves to the continuation, where tokenizers put it. Raises InputError for a pair longer
        than the model's context instead of truncating it.
        """
        self.require_text()
        windows = []
        for number, (context, continuation) in enumerate(pairs):
            kept = context.rstrip()
            continuation = context[len(kept) :] + continuation
            before = [self.tokenizer.start_id, *self.tokenizer.encode(kept)]
            # Encoded as inner text, without SentencePiece's leading space.
            after = self.tokenizer.encode_inside(continuation) if kept else self.tokenizer.encode(continuation)
            self._check_length(len(before) + len(after) - 1, f"pair {number} has")
            windows.append(Window([*before, *after], len(after)))
        return [
            Score(float(logprobs.double().sum()), len(logprobs), bool(greedy.all()))
            for logprobs, greedy in target_logprobs(self.model, windows)
        ]

    def rolling(self, texts: Sequence[str]) -> list[float]:
        """Natural-log likelihood of each full text; the end-of-text token is not counted.

        A text longer than the context is read in windows that overlap by half: every token is scored once, with at
        least half a context before it.
        """
        self.require_text()
        _check_texts(texts)
        windows: list[Window] = []
        owner: list[int] = []
        for number, ids in enumerate(self.tokenizer.encode_batch(list(texts))):
            made = rolling_windows(ids, self.tokenizer.start_id, self.context)
            windows += made
            owner += [number] * len(made)
        totals = [0.0] * len(texts)
        for number, (logprobs, _) in zip(owner, target_logprobs(self.model, windows), strict=True):
            totals[number] += float(logprobs.double().sum())
        return totals

    def generate(
        self, prompts: Sequence[str] | Sequence[Sequence[int]], sampling: Sampling = GREEDY
    ) -> list[Generation]:
        """Continue each prompt. Ids are used as given. Raises InputError for a prompt that fills the context."""
        self.require_text()
        _check_texts(prompts)
        rows = [self.prompt_ids(prompt) if isinstance(prompt, str) else list(prompt) for prompt in prompts]
        return collected(self.stream(rows, sampling), len(rows), bool(sampling.top_logprobs))

    def stream(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling = GREEDY, engine: Engine | None = None
    ) -> Iterator[Piece]:
        """Stream the answers to prompts of ids, token by token. Close the iterator to stop early.

        engine: an engine to reuse across calls (`engine()`).
        """
        self.require_text()
        tok, ended = self.tokenizer, set[int]()
        pieces = Pieces(tok.decode, tok.token_bytes, self.stop_ids, sampling, len(prompts))
        asked = (self.model, prompts, sampling, self.stop_ids, ended)
        for token in decode(*asked, table=self.table, engine=engine, speculation=self.speculation):
            piece = pieces.take(token.row, token)
            if piece.stop_reason is not None:
                ended.add(token.row)
            yield piece

    def engine(self, keep: int = 1) -> Engine:
        """An engine to reuse across calls of `stream`, with a prefix cache of `keep` prompts. Not thread-safe."""
        return Engine(self.model, self.stop_ids, keep=keep, table=self.table, speculation=self.speculation)

    def search(
        self, prompts: Sequence[str] | Sequence[Sequence[int]], how: Beam | Contrastive
    ) -> list[list[Generation]]:
        """Continue each prompt by search instead of sampling; returns the continuations found, best first.

        `how`: `Beam(...)` (diverse, too) or `Contrastive(...)`. Raises InputError for a prompt that fills the context.
        """
        self.require_text()
        _check_texts(prompts)
        found: list[list[Generation]] = []
        for prompt in prompts:
            ids = self.prompt_ids(prompt) if isinstance(prompt, str) else list(prompt)
            made = search_ids(self.model, ids, how, self.stop_ids)
            found.append(
                [
                    Generation(self._text_of(one), one.ids, one.logprobs, one.stop_reason, score=one.score)
                    for one in made
                ]
            )
        return found

    def _text_of(self, made: Hypothesis) -> str:
        text = TextStream(self.tokenizer.decode, self.tokenizer.token_bytes)
        fed = "".join(text.feed(index) for index in made.ids if index not in self.stop_ids)
        return fed + text.close(cut=made.stop_reason == "length")

    def best_of(self, prompt: str | Sequence[int], n: int, sampling: Sampling = DRAWN) -> list[Generation]:
        """`n` answers to a prompt, best first by mean token log-probability."""
        return best_of(self.generate, prompt, n, sampling)

    def self_consistency(
        self,
        prompt: str | Sequence[int],
        n: int,
        extract: Callable[[str], Hashable | None],
        sampling: Sampling = DRAWN,
    ) -> Majority:
        """Majority vote over `n` answers to a prompt, with its share; `extract(text)` returns the answer, or None."""
        return self_consistency(self.generate, prompt, n, extract, sampling)

    def chat(self, messages: Messages, sampling: Sampling = GREEDY, tools: Tools | None = None) -> Generation:
        """The assistant's answer to a conversation. `tools`: available tools in chat template format; calls are part of
        the answer's text."""
        return self.chat_batch([messages], sampling, [tools])[0]

    def chat_batch(
        self,
        conversations: Sequence[Messages],
        sampling: Sampling = GREEDY,
        tools: Sequence[Tools | None] | None = None,
    ) -> list[Generation]:
        """The assistant's answer to each conversation, batched. `tools`: per conversation."""
        of_each = [None] * len(conversations) if tools is None else tools
        asked = zip(conversations, of_each, strict=True)
        return self.generate([self.chat_ids(messages, may_call) for messages, may_call in asked], sampling)

    def chat_stream(self, messages: Messages, sampling: Sampling = GREEDY) -> Iterator[str]:
        """Stream the answer in pieces of complete characters; joined they equal the text of `chat`."""
        for piece in self.stream([self.chat_ids(messages)], sampling):
            if piece.text:
                yield piece.text

    def chat_ids(
        self, messages: Messages, tools: Tools | None = None, options: Mapping[str, Any] | None = None
    ) -> list[int]:
        """Ids of a conversation by the tokenizer's chat template, up to the start of the assistant's turn. `options`:
        more variables for the template, such as enable_thinking."""
        self.require_text()
        return asking_ids(self.tokenizer, messages, tools, options)

    def translate(
        self, texts: Sequence[str], target: str | None = None, sampling: Sampling | Beam = GREEDY
    ) -> list[Generation]:
        """Translate each text, with the prompt used in training; with `Beam`, the best result of the search.

        Arguments and errors: as of `translation_prompts`.
        """
        prompts = self.translation_prompts(texts, target)
        if isinstance(sampling, Beam):
            return [found[0] for found in self.search(prompts, sampling)]
        return self.generate(prompts, sampling)

    def translation_prompts(self, texts: Sequence[str], target: str | None = None) -> list[list[int]]:
        """Prompt ids for translating each text.

        target: the target language, for a model trained in both directions. Raises ConfigError for a model not trained
        for translation, or not for this language.
        """
        _check_texts(texts)
        self.require_text()
        return translation_ids(self.tokenizer, texts, target)

    def score_chat(
        self,
        conversations: Sequence[Messages],
        weights: Sequence[Sequence[float]] | None = None,
        tools: Sequence[Tools | None] | None = None,
    ) -> list[tuple[float, float]]:
        """(Natural-log probability, tokens) of the assistant's turns in each conversation, stop tokens included: the
        targets of instruction finetuning.

        `weights`: weight of each message in both figures, default 1. `tools`: available tools per conversation. Raises
        InputError for a conversation longer than the context.
        """
        self.require_text()
        windows, counted = [], []
        for number, messages in enumerate(conversations):
            window, counts = learned_window(
                self.tokenizer, messages, None if weights is None else weights[number],
                None if tools is None else tools[number],
            )  # fmt: skip
            self._check_length(len(window.ids) - 1, f"conversation {number} has")
            windows.append(window)
            counted.append(counts)
        scored = target_logprobs(self.model, windows)
        return [
            (float((logprobs.double() * weight).sum()), float(weight.sum()))
            for (logprobs, _), weight in zip(scored, counted, strict=True)
        ]

    def prompt_ids(self, text: str) -> list[int]:
        """Ids of a text at the beginning of a document."""
        return [self.tokenizer.start_id, *self.tokenizer.encode(text)]

    def classify(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """Probability of each label, by the head on the pooled state (`config.pooling`); they sum to 1 unless the model
        is multi-label (`config.multi_label`). Raises ConfigError if there is no head.

        A text is read with the tokenizer's frame (`framed`) and truncated as in training (to `tokenizer.max_length`
        tokens, if known). Raises InputError past the context.
        """
        _check_texts(texts)
        require_labels(self.config)
        names = self.config.labels or tuple(f"LABEL_{index}" for index in range(self.config.num_labels))
        scores = last_scores(self.model, self.read(texts))
        probabilities = [s.double().sigmoid() if self.config.multi_label else s.double().softmax(-1) for s in scores]
        return [dict(zip(names, each.tolist(), strict=True)) for each in probabilities]

    def read(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts in classifier format. Raises InputError past the context."""
        tok, limit = self.tokenizer, self.tokenizer.max_length
        most = None if limit is None else max(1, limit - len(tok.framed([])))
        rows = [tok.framed(ids[:most]) or [tok.start_id] for ids in tok.encode_batch(list(texts))]
        for number, ids in enumerate(rows):
            self._check_length(len(ids), f"text {number} has")
        return rows

    def rewards(self, conversations: Sequence[Messages]) -> list[float]:
        """The reward of each conversation that ends with an answer, by a reward model's head at its last token.

        Of two answers to the same prompt, the one with the higher reward is better with odds exp(difference) to 1.
        Raises ConfigError if this is not a reward model, InputError past the context.
        """
        require_rewards(self.config)
        rows = [reward_ids(self.tokenizer, messages_from_plain(list(messages))) for messages in conversations]
        for number, ids in enumerate(rows):
            self._check_length(len(ids), f"conversation {number} has")
        return [float(score[0]) for score in last_scores(self.model, rows)]

    def rank(self, prompt: str | Messages, answers: Sequence[str]) -> list[Ranked]:
        """Rank answers to a prompt (or to a conversation) by reward, best first."""
        _check_texts(answers)
        asked = [Message("user", prompt)] if isinstance(prompt, str) else messages_from_plain(list(prompt))
        found = self.rewards([[*asked, Message("assistant", answer)] for answer in answers])
        ranked = [Ranked(answer, reward) for answer, reward in zip(answers, found, strict=True)]
        return sorted(ranked, key=lambda one: -one.reward)

    def save(self, directory: Path | str) -> None:
        """Save model and tokenizer in Hugging Face layout, loadable by transformers.

        An existing model there is replaced, including its tokenizer; other files are not touched. Raises InputError if
        `config.json` belongs to another program.
        """
        if is_packed(self.model):
            raise ConfigError("packed weights cannot be saved", hint="load them as float32")
        directory = Path(directory)
        refuse_other_config(directory)
        with replaced_files(directory, lambda: superseded(directory) | superseded_tokenizer(directory)) as out:
            save_model(self.model, out)
            self.tokenizer.save(out)

    def _check_length(self, length: int, what: str) -> None:
        if length > self.context:
            raise InputError(
                f"{what} {length} tokens, but the model's context is {self.context}", hint="shorten the text"
            )


def load(
    source: Path | str, device: str = "auto", dtype: Precision = "float32", quantisation: Quantisation = "none"
) -> LanguageModel:
    """Load a model directory, an artifact, or a run folder (its chat model).

    device: "auto" uses a GPU if available. dtype: "float32", "bfloat16", or "auto" for the faster one. Raises
    InputError, naming what was found, if it is not a model, DamagedError if its files are incomplete.
    """
    directory = find_model(source)
    place = choose_device(device)
    model = load_model(directory, place, choose_precision(dtype, place), quantisation)
    return LanguageModel(model, Tokenizer.load(directory))


def _check_texts(texts: object) -> None:
    # A single string would be read as a sequence of letters.
    if isinstance(texts, str):
        raise InputError("expected a list of texts, got a single text", hint="put it into a list")
