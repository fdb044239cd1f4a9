"""Measure any causal language model of transformers, with its own code and tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tutelage.evaluation.bench.encoding import Encoded, Rules
from tutelage.evaluation.bench.ours import summed, weights_sha256
from tutelage.evaluation.bench.protocol import Ask, Likelihood, Pair, Roll, Written
from tutelage.inference.scoring import length_batches, padded
from tutelage.store.errors import ConfigError, InputError
from tutelage.store.hashing import sha256_text
from tutelage.store.quiet import quiet_imports

BATCH_TOKENS = 2048  # logits are computed for all of them


class TransformersModel:
    """A model directory (or hub name) for `AutoModelForCausalLM`; custom model code is never executed."""

    likelihoods = empty_context = True

    def __init__(self, source: str, dtype: str = "float32", device: str = "cpu") -> None:
        try:
            with quiet_imports():
                from transformers import AutoModelForCausalLM, AutoTokenizer
        except ImportError:
            raise ConfigError("hf: requires the package transformers", hint="pip install transformers") from None
        try:
            with quiet_imports():
                self.tok: Any = AutoTokenizer.from_pretrained(source)
                loaded: Any = AutoModelForCausalLM.from_pretrained(source, dtype=getattr(torch, dtype))
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"transformers cannot load {source}: {' '.join(str(error).split())[:200]}") from None
        self.model: Any = loaded.eval().to(device)
        self.name, self.precision = f"hf:{source}", dtype
        config = self.model.config
        self.context: int | None = next(
            (int(length) for key in ("max_position_embeddings", "n_positions", "n_ctx")
             if (length := getattr(config, key, None))), 2048,
        )  # fmt: skip
        self.identity = weights_sha256(self.model.state_dict())
        self.tokenizer = sha256_text(str(sorted(self.tok.get_vocab().items())) + str(self.encode("a b\n")))
        prefix = self.tok.eos_token_id if self.tok.bos_token_id is None else self.tok.bos_token_id
        ends = self.model.generation_config.eos_token_id
        self._stops = set(ends) if isinstance(ends, list) else {ends}
        assert self.context is not None
        self.rules = Rules(self.encode, lambda text: list(self.tok.encode(text, add_special_tokens=False)), prefix,
                           self.context)  # fmt: skip

    def encode(self, text: str) -> list[int]:
        return list(self.tok.encode(text))

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tok.decode(list(ids), skip_special_tokens=True))

    def score(self, pairs: Sequence[Pair]) -> list[Likelihood]:
        return self._scored([self.rules.pair(pair) for pair in pairs])

    def rolling(self, texts: Sequence[Roll]) -> list[Likelihood]:
        windows = [self.rules.windows(one.text, one.overlap) for one in texts]
        scored = iter(self._scored([Encoded(*window) for each in windows for window in each]))
        return [summed([next(scored) for _ in each]) for each in windows]

    def token_logprobs(self, texts: Sequence[str]) -> list[list[float]]:
        """Log-probability of each token of each text, given the preceding tokens within the context."""
        windows = [self.rules.windows(text, overlap=True) for text in texts]
        told = iter(self._logprobs([Encoded(*window) for each in windows for window in each]))
        return [[value for _ in each for value in next(told)[0].tolist()] for each in windows]

    def _scored(self, encoded: Sequence[Encoded]) -> list[Likelihood]:
        return [
            Likelihood(float(logprobs.double().sum()), len(one.continuation), greedy, one.cut)
            for one, (logprobs, greedy) in zip(encoded, self._logprobs(encoded), strict=True)
        ]

    @torch.inference_mode()
    def _logprobs(self, encoded: Sequence[Encoded]) -> list[tuple[Tensor, bool]]:
        """For each continuation, its token log-probabilities and whether each token is the likeliest."""
        results = [(torch.empty(0), True)] * len(encoded)
        rows = [[*one.context, *one.continuation[:-1]] for one in encoded]
        for batch in length_batches([len(row) for row in rows], BATCH_TOKENS):
            tokens = padded([rows[index] for index in batch]).to(self.model.device)
            lengths = torch.tensor([len(rows[index]) for index in batch], device=tokens.device)
            mask = (torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]).long()
            logits = self.model(input_ids=tokens, attention_mask=mask).logits
            for row, index in enumerate(batch):
                one = encoded[index]
                end = len(rows[index])
                mine = logits[row, end - len(one.continuation) : end].float()
                wanted = torch.tensor(one.continuation, device=tokens.device)
                logprobs = mine.gather(-1, wanted[:, None]).squeeze(-1) - mine.logsumexp(-1)
                results[index] = logprobs, bool((mine.argmax(-1) == wanted).all())
        return results

    @torch.inference_mode()
    def generate(self, prompts: Sequence[Ask]) -> list[Written]:
        return [self._written(prompt) for prompt in prompts]

    def _written(self, ask: Ask) -> Written:
        if ask.chat and self.tok.chat_template:
            said = [{"role": "user", "content": ask.prompt}]
            text = self.tok.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
            ids = list(self.tok.encode(text, add_special_tokens=False))
        else:
            ids = self.encode(ask.prompt) or [self.rules.prefix]
        room = self.rules.context - ask.max_tokens
        if room < 1:
            raise InputError(
                f"an answer of {ask.max_tokens} tokens leaves no space for a prompt in a context of {self.context}",
                hint="use a model with a longer context for this task",
            )
        cut = max(0, len(ids) - room)
        stops: dict[str, Any] = {"stop_strings": list(ask.until), "tokenizer": self.tok} if ask.until else {}
        tokens = torch.tensor([ids[cut:]], device=self.model.device)
        made = self.model.generate(
            input_ids=tokens, attention_mask=torch.ones_like(tokens), do_sample=False, max_new_tokens=ask.max_tokens,
            pad_token_id=self.tok.eos_token_id, **stops,
        )[0, tokens.shape[1] :].tolist()  # fmt: skip
        text = self.decode(made)
        found = [at for stop in ask.until if (at := text.find(stop)) >= 0]
        stopped = bool(found) or len(made) < ask.max_tokens or made[-1] in self._stops
        return Written(text[: min(found)] if found else text, stopped, cut)
