"""Measure our own language models, and any model that `tutelage.load` accepts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch

from tutelage.evaluation.bench.encoding import Encoded, Rules
from tutelage.evaluation.bench.families import Family, family_logprobs
from tutelage.evaluation.bench.prefixes import Joined, joined
from tutelage.evaluation.bench.protocol import Ask, Likelihood, Pair, Roll, Written
from tutelage.inference.language_model import LanguageModel
from tutelage.inference.sampling import Sampling
from tutelage.inference.scoring import Window, target_logprobs
from tutelage.store.errors import InputError
from tutelage.store.hashing import sha256_text
from tutelage.tokenizer.chat import render_chat
from tutelage.tokenizer.messages import Message


class OurModel:
    """A `LanguageModel` for benchmarks: start tokens only if the tokenizer's own rule adds one."""

    likelihoods = empty_context = True

    def __init__(self, lm: LanguageModel, name: str) -> None:
        lm.require_text()
        self.lm, self.name = lm, name
        self.precision = str(lm.model.embed_tokens.weight.dtype).removeprefix("torch.")
        self.context: int | None = lm.context
        self.piece = 8_000 if lm.device.type == "cpu" else 400_000
        self.identity = weights_sha256(lm.model.state_dict())
        tok = lm.tokenizer
        self.tokenizer = sha256_text(tok.definition + str(sorted(tok.settings.items())) + str(tok.chat_template))
        prefix = tok.eos_id if tok.bos_id is None else tok.bos_id
        self.rules = Rules(self.encode, self.encode_plain, prefix, lm.context)

    def encode(self, text: str) -> list[int]:
        return [*self.lm.tokenizer.begin_ids, *self.encode_plain(text)]

    def encode_plain(self, text: str) -> list[int]:
        """Ids of a text without special tokens."""
        return self.lm.tokenizer.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self.lm.tokenizer.decode(ids)

    def score(self, pairs: Sequence[Pair]) -> list[Likelihood]:
        return self.score_encoded([self.rules.pair(pair) for pair in pairs])

    def score_encoded(self, encoded: Sequence[Encoded]) -> list[Likelihood]:
        """Likelihoods of ids; requests with the same context are read together."""
        families: dict[tuple[int, ...], list[int]] = {}
        for number, one in enumerate(encoded):
            families.setdefault(tuple(one.context), []).append(number)
        members = list(families.values())
        asked = [Family(context, [encoded[at].continuation for at in mine]) for context, mine in families.items()]
        rows = joined(asked) if self.lm.config.can_branch else [Joined.alone(at, one) for at, one in enumerate(asked)]
        found = family_logprobs(self.lm.model, [row.family for row in rows])
        results = [Likelihood(0.0, 0, True)] * len(encoded)
        for row, scores in zip(rows, found, strict=True):
            for (family, number), (logprob, greedy) in zip(row.origin, scores, strict=True):
                at = members[family][number]
                results[at] = Likelihood(logprob, len(encoded[at].continuation), greedy, encoded[at].cut)
        return results

    def rolling(self, texts: Sequence[Roll]) -> list[Likelihood]:
        windows = [self.rules.windows(one.text, one.overlap) for one in texts]
        scored = iter(self.score_encoded([Encoded(*window) for each in windows for window in each]))
        return [summed([next(scored) for _ in each]) for each in windows]

    def token_logprobs(self, texts: Sequence[str]) -> list[list[float]]:
        """Log-probability of each token of each text, given the preceding tokens within the context."""
        windows = [self.rules.windows(text, overlap=True) for text in texts]
        asked = [Window([*before, *after], len(after)) for each in windows for before, after in each]
        found = iter(target_logprobs(self.lm.model, asked))
        return [[value for _ in each for value in next(found)[0].tolist()] for each in windows]

    def generate(self, prompts: Sequence[Ask]) -> list[Written]:
        results = [Written("", False)] * len(prompts)
        alike: dict[tuple[tuple[str, ...], int], list[int]] = {}
        for at, prompt in enumerate(prompts):
            alike.setdefault((prompt.until, prompt.max_tokens), []).append(at)
        for (until, max_tokens), members in alike.items():
            rows, cuts = zip(*(self._prompt(prompts[at]) for at in members), strict=True)
            made = self.lm.generate(rows, Sampling(max_tokens=max_tokens, stop=until))
            for at, one, cut in zip(members, made, cuts, strict=True):
                results[at] = Written(one.text, one.stop_reason == "stop", cut)
        return results

    def _prompt(self, ask: Ask) -> tuple[list[int], int]:
        tok = self.lm.tokenizer
        if ask.chat and tok.chat_template is not None:
            ids = render_chat(tok, [Message("user", ask.prompt)], add_generation_prompt=True).ids
        else:
            ids = self.encode(ask.prompt) or [self.rules.prefix]
        room = self.lm.context - ask.max_tokens
        if room < 1:
            raise InputError(
                f"an answer of {ask.max_tokens} tokens leaves no space for a prompt: the model's context is "
                f"{self.lm.context}",
                hint="use a model with a longer context for this task",
            )
        return ids[-room:], max(0, len(ids) - room)


def summed(parts: Sequence[Likelihood]) -> Likelihood:
    """The likelihood of a text from those of its windows."""
    return Likelihood(
        sum(part.logprob for part in parts), sum(part.tokens for part in parts), all(part.greedy for part in parts)
    )


def weights_sha256(state: dict[str, torch.Tensor]) -> str:
    """Hash of weights by name, dtype, shape and bytes, independent of how they were loaded."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name}\0{value.dtype}\0{list(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
