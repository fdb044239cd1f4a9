"""A model and a much smaller one with the same tokenizer, both raised on a text within minutes, to measure drafts with.

The small one learns the other's distribution on the same text (distillation: Kullback-Leibler divergence over all
tokens).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

TARGET: dict[str, Any] = {
    "hidden_size": 320,
    "intermediate_size": 864,
    "num_layers": 8,
    "num_heads": 5,
    "num_kv_heads": 5,
}
DRAFT: dict[str, Any] = {
    "hidden_size": 96,
    "intermediate_size": 256,
    "num_layers": 2,
    "num_heads": 3,
    "num_kv_heads": 3,
}
VOCABULARY, CONTEXT, ROWS, LENGTH = 2048, 512, 4, 128
HELD_OUT = 0.05


def pair(text: Path, seconds: float) -> tuple[Any, Any, str]:
    """(model, draft, the text that both have not seen), raised for about so many seconds of the clock together."""
    import torch

    from tutelage.inference.language_model import LanguageModel
    from tutelage.model.decoder import DecoderLM
    from tutelage.model.families import FamilyConfig
    from tutelage.store.events import EventLog
    from tutelage.tokenizer.config import TokenizerConfig
    from tutelage.tokenizer.train import train

    whole = text.read_text(encoding="utf-8")
    seen, held_out = whole[: int(len(whole) * (1 - HELD_OUT))], whole[int(len(whole) * (1 - HELD_OUT)) :]
    tok = train(TokenizerConfig.parse({"method": "bpe", "vocab_size": VOCABULARY}), seen.split("\n\n"), EventLog())
    ids = torch.tensor(tok.encode(seen))

    def made(**sizes: Any) -> Any:
        settings = {
            "vocab_size": tok.vocab_size,
            "max_position_embeddings": CONTEXT,
            "eos_token_id": tuple(tok.stop_ids),
        }
        return DecoderLM(FamilyConfig.parse({**settings, **sizes}), seed=1)

    def raised(model: Any, until: float, teacher: Any = None) -> float:
        chance = torch.Generator().manual_seed(1)
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.1)
        begun, step, loss = time.monotonic(), 0, torch.tensor(0.0)
        while (done := (time.monotonic() - begun) / (until - begun)) < 1:
            for group in optimizer.param_groups:
                group["lr"] = 2e-3 * min(1, (step + 1) / 30) * max(0.05, 1 - done)
            starts = torch.randint(len(ids) - LENGTH - 1, (ROWS,), generator=chance)
            rows = torch.stack([ids[at : at + LENGTH + 1] for at in starts.tolist()])
            logits = model(rows[:, :-1]).flatten(0, 1)
            if teacher is None:
                loss = torch.nn.functional.cross_entropy(logits, rows[:, 1:].flatten())
            else:
                with torch.no_grad():
                    wanted = teacher(rows[:, :-1]).flatten(0, 1).log_softmax(-1)
                loss = torch.nn.functional.kl_div(
                    logits.log_softmax(-1), wanted, reduction="batchmean", log_target=True
                )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step += 1
        print(f"{model.num_parameters():,} parameters: {step} steps, loss {loss.item():.3f}", flush=True)
        return float(loss.item())

    target, draft = made(**TARGET), made(**DRAFT)
    raised(target, time.monotonic() + 0.65 * seconds)
    target.eval()
    raised(draft, time.monotonic() + 0.35 * seconds, target)
    return LanguageModel(target, tok), LanguageModel(draft, tok), held_out
