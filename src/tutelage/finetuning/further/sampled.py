"""Text sampled from a model at temperature 1, to replay and to measure forgetting.

If the training text of a model is not available, its samples replace it: a model that gives them the same likelihood as
before has forgotten nothing (Robins 1995, pseudo-rehearsal; Huang et al. 2024, self-synthesized rehearsal). For a chat
model questions are sampled too, from the template's beginning of the user's turn (Xu et al. 2024, Magpie).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tutelage.finetuning.common import chats
from tutelage.finetuning.data import Row, write_rows
from tutelage.inference.language_model import LanguageModel, load
from tutelage.inference.sampling import Sampling
from tutelage.model.io import weights_identity
from tutelage.store.chunks import append_chunk, finished_chunks
from tutelage.store.errors import InputError
from tutelage.store.events import EventLog
from tutelage.store.hashing import sha256_json
from tutelage.store.stage import Job
from tutelage.tokenizer.chat import render_chat
from tutelage.tokenizer.messages import Message

_SHAPE = ("max_tokens", "prompt_tokens", "answer_tokens", "chunk")  # settings that determine the content of a chunk
TRIES = 4  # maximum number of sampled questions per requested one: some do not end


def make_samples(job: Job) -> dict[str, Any]:
    """Sample documents and conversations into `train.jsonl` and `heldout.jsonl`.

    Rows are {"id", "text", "ended"}, {"id", "prompt", "response", "ended"}, and held-out questions {"id", "prompt"}.
    Held-out rows have separate seeds, so they do not depend on the amount of replay. Finished chunks are kept in
    `work`: a killed run resumes and ends with the same files.
    """
    config, out, log, base = job.config, job.out, job.log, job.inputs["model"]
    sampler = _Sampler(load(base, dtype="auto"), config, job.work, log, job.seed, weights_identity(base))
    held, train = sampler.documents("heldout", config.heldout_tokens), sampler.documents("train", config.tokens)
    asked, conversations = list[Row](), list[Row]()
    if chats(base):
        asked = sampler.questions("heldout", config.questions)
        seen = {row["prompt"] for row in asked}
        conversations = [row for row in sampler.chats(config.chats) if row["prompt"] not in seen]
        if len(asked) < config.questions:
            log.note(
                f"only {len(asked)} of {config.questions} questions sampled from the model ended within prompt_tokens"
            )
    write_rows(out / "heldout.jsonl", [*held, *asked])
    write_rows(out / "train.jsonl", [*train, *conversations])
    return {
        "documents": len(train),
        "heldout_documents": len(held),
        "conversations": len(conversations),
        "questions": len(asked),
        "cut_documents": sum(not row["ended"] for row in [*held, *train]),
        "tokens": sampler.tokens,
    }


class _Sampler:
    """Samples from the model, chunk by chunk, each chunk with its own seed."""

    def __init__(self, lm: LanguageModel, config: Any, work: Path, log: EventLog, seed: int, weights: str) -> None:
        self.lm, self.config, self.work, self.log, self.seed = lm, config, work, log, seed
        shape = {key: value for key, value in config.plain().items() if key in _SHAPE}
        self.identity = sha256_json(
            [shape, seed, weights, str(lm.model.embed_tokens.weight.dtype), lm.tokenizer.definition]
        )
        self.tokens = 0

    def documents(self, split: str, tokens: int) -> list[Row]:
        """Documents sampled from the start token, `tokens` tokens or more in total."""
        found: list[Row] = []
        total = 0
        start = [[self.lm.tokenizer.start_id]] * self.config.chunk

        def sample(number: int) -> list[Row]:
            made = self.lm.generate(start, self._sampling(f"{split} documents", number, self.config.max_tokens))
            return [{"text": one.text, "ended": one.stop_reason == "stop", "tokens": len(one.ids)} for one in made]

        number = 0
        while total < tokens:
            for row in self._chunk(f"{split}-documents", number, sample):
                if row["text"].strip() and total < tokens:
                    found.append({"id": f"{split}-{len(found)}", "text": row["text"], "ended": row["ended"]})
                    total += row["tokens"]
            number += 1
            if not found:
                raise InputError(
                    "the model samples only empty documents", hint="set sampled.tokens to 0, or set replay.source"
                )
            self.log.progress(f"sampling {split} documents", min(total, tokens), tokens, "tokens")
        self.tokens += total
        return found

    def questions(self, split: str, count: int) -> list[Row]:
        """Distinct questions sampled as the user's turn; fewer than `count` if too many do not end."""
        found: dict[str, Row] = {}
        opening = _opening_of_a_question(self.lm) if count else []
        what = f"{split} questions"

        def sample(number: int) -> list[Row]:
            made = self.lm.generate(
                [opening] * self.config.chunk, self._sampling(what, number, self.config.prompt_tokens)
            )
            ended = [one.text.strip() for one in made if one.stop_reason == "stop"]
            return [{"prompt": text} for text in ended if text and self._leaves_room(text)]

        for number in range(-(-TRIES * count // self.config.chunk)):
            for row in self._chunk(f"{split}-questions", number, sample):
                if len(found) < count:
                    found.setdefault(row["prompt"], {"id": f"{split}-question-{len(found)}", "prompt": row["prompt"]})
            self.log.progress(f"sampling {what}", len(found), count, "questions")
            if len(found) >= count:
                break
        return list(found.values())

    def chats(self, count: int) -> list[Row]:
        """Conversations: answers of the model to `count` sampled questions."""
        asked = self.questions("train", count)

        def sample(number: int) -> list[Row]:
            part = asked[number * self.config.chunk : (number + 1) * self.config.chunk]
            made = self.lm.chat_batch(
                [[Message("user", row["prompt"])] for row in part],
                self._sampling("answers", number, self.config.answer_tokens),
            )
            return [
                {**row, "response": one.text.strip(), "ended": one.stop_reason == "stop"}
                for row, one in zip(part, made, strict=True)
            ]

        rows: list[Row] = []
        for number in range(-(-len(asked) // self.config.chunk)):
            rows += self._chunk("answers", number, sample)
            self.log.progress("sampling answers", len(rows), len(asked), "answers")
        return [row for row in rows if row["response"]]

    def _leaves_room(self, question: str) -> bool:
        """Whether the question fits the context with room for an answer."""
        try:
            return len(self.lm.chat_ids([Message("user", question)])) < self.lm.context // 2
        except InputError:  # the template rejects it
            return False

    def _sampling(self, what: str, number: int, most: int) -> Sampling:
        room = self.lm.context // 2 - 1  # a question and its answer share the context
        return Sampling(max_tokens=min(most, room), temperature=1.0, seed=_seed(self.seed, what, number))

    def _chunk(self, name: str, number: int, sample: Callable[[int], Sequence[Row]]) -> list[Row]:
        """One chunk: read from `work` if finished before, else sampled and saved."""
        path = self.work / f"{name}.jsonl"
        whole: list[list[Row]] = finished_chunks(path, self.identity)
        if number < len(whole):
            return whole[number]
        made = list(sample(number))
        append_chunk(path, made)
        return made


def _opening_of_a_question(lm: LanguageModel) -> list[int]:
    """Token ids of a conversation up to the user's content, including the template's default system prompt."""
    rendered = render_chat(lm.tokenizer, [Message("user", "a")])
    return rendered.ids[: rendered.spans[-1].start]


def _seed(seed: int, what: str, number: int) -> int:
    return int(sha256_json([seed, what, number])[:12], 16)
