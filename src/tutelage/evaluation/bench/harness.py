"""Run lm-evaluation-harness on our models, and read its results in our format.

    python -m tutelage.evaluation.bench.harness --model tutelage --model_args model=runs/quickstart --tasks hellaswag

accepts every option of `lm_eval`. In a Python program, import this module, which registers the model, and use the
harness as usual: `lm_eval.simple_evaluate(model="tutelage", model_args="model=smollm2", ...)`.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tutelage.evaluation.bench.ours import OurModel
from tutelage.evaluation.bench.protocol import Ask, Roll
from tutelage.store.errors import ConfigError, InputError

_MAX_TOKENS = 256  # the harness's default
_PIECE = 64  # requests per step of the progress bar


class _AsText(OurModel):
    """Parses control tokens in texts, as the harness expects, because it passes chats as rendered text."""

    def encode_plain(self, text: str) -> list[int]:
        return self.lm.tokenizer.encode_control(text)

    def encode(self, text: str) -> list[int]:
        begin, ids = self.lm.tokenizer.begin_ids, self.encode_plain(text)
        return ids if ids[: len(begin)] == begin else [*begin, *ids]


def adapter() -> type[Any]:
    """The class that the harness uses, registered as "tutelage". Raises ConfigError if the harness is not installed."""
    try:
        from lm_eval.api.model import TemplateLM
        from lm_eval.api.registry import register_model
    except ImportError:
        raise ConfigError("lm-evaluation-harness is not installed", hint="pip install lm-eval==0.4.13") from None

    @register_model("tutelage")
    class TutelageLM(TemplateLM):  # type: ignore[misc, unused-ignore]
        """model: anything that `tutelage.load` accepts, or a loaded `LanguageModel`."""

        def __init__(
            self, model: Any = None, pretrained: Any = None, dtype: str = "float32", device: str | None = None, **_: Any
        ) -> None:
            super().__init__()
            from tutelage.loading import load

            given = model or pretrained
            if given is None:
                raise ConfigError("no model given", hint="--model_args model=runs/quickstart")
            lm = load(given, device or "auto", dtype) if isinstance(given, (str, Path)) else given  # type: ignore[arg-type]
            self.ours = _AsText(lm, str(given))
            self.tokenizer = lm.tokenizer
            self.backend = "causal"

        @property
        def eot_token_id(self) -> int:
            return int(self.tokenizer.eos_id)

        @property
        def prefix_token_id(self) -> int:
            return int(self.ours.rules.prefix)

        @property
        def max_length(self) -> int:
            return int(self.ours.lm.context)

        @property
        def max_gen_toks(self) -> int:
            return _MAX_TOKENS

        @property
        def tokenizer_name(self) -> str:
            return self.ours.tokenizer

        def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
            return (self.ours.encode_plain if add_special_tokens is False else self.ours.encode)(string)

        def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
            from tutelage.tokenizer.chat import render_chat
            from tutelage.tokenizer.messages import messages_from_plain

            turns = messages_from_plain(list(chat_history))
            rendered = render_chat(self.tokenizer, turns, add_generation_prompt=add_generation_prompt)
            return str(self.tokenizer.decode(rendered.ids, skip_special=False))

        def chat_template(self, chat_template: bool | str = False) -> str | None:
            return str(self.tokenizer.chat_template or "")

        def _loglikelihood_tokens(
            self, requests: Sequence[tuple[Any, list[int], list[int]]], disable_tqdm: bool = False, **_: Any
        ) -> list[tuple[float, bool]]:
            encoded = [self.ours.rules.fitted(list(before), list(after)) for _, before, after in requests]
            # Longest first; requests with the same context stay together.
            order = sorted(range(len(encoded)), key=lambda at: (-len(encoded[at].context), encoded[at].context))
            results = [(0.0, False)] * len(encoded)
            for start in range(0, len(order), _PIECE):
                part = order[start : start + _PIECE]
                for at, one in zip(part, self.ours.score_encoded([encoded[at] for at in part]), strict=True):
                    results[at] = (one.logprob, one.greedy)
            return results

        def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
            texts = [Roll(request.args[0], overlap=False) for request in requests]
            return [one.logprob for one in self.ours.rolling(texts)]

        def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
            asks = [_ask(*request.args) for request in requests]
            return [one.text for one in self.ours.generate(asks)]

    return TutelageLM


def _ask(context: str, settings: dict[str, Any]) -> Ask:
    """Convert generation settings. Raises ConfigError for sampling: the adapter only decodes greedily."""
    if settings.get("do_sample") and float(settings.get("temperature", 1.0)) > 0:
        raise ConfigError("the adapter only decodes greedily; this task samples", hint="set gen_kwargs do_sample=false")
    until = settings.get("until") or []
    stops = [until] if isinstance(until, str) else list(until)
    return Ask(context, tuple(stop for stop in stops if stop), int(settings.get("max_gen_toks", _MAX_TOKENS)))


def read_results(path: Path) -> dict[str, dict[str, float]]:
    """Figures of a harness result file (`results_*.json`) by task and metric; filters other than none as
    "metric,filter". Raises InputError for any other file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["results"]
        return {
            task: {
                key.removesuffix(",none"): float(value)
                for key, value in row.items()
                if "," in key and "_stderr" not in key and isinstance(value, (int, float))
            }
            for task, row in found.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path} is not a result file of lm-evaluation-harness") from None


def read_samples(path: Path) -> list[dict[str, Any]]:
    """Rows in the format of our items.parquet from a harness sample file (`--log_samples`, samples_TASK_DATE.jsonl), so
    that its runs can be compared like ours. Item ids are the item numbers. Raises InputError for any other file."""
    from tutelage.evaluation.bench.sources import read_file

    task = path.name.removeprefix("samples_").split(".")[0].rsplit("_", 1)[0]
    rows: list[dict[str, Any]] = []
    for sample in read_file(path):
        if "doc_id" not in sample or "metrics" not in sample:
            raise InputError(f"{path} contains no samples of lm-evaluation-harness")
        by = "" if sample.get("filter", "none") == "none" else f",{sample['filter']}"
        for metric in sample["metrics"]:
            if isinstance(value := sample.get(metric), (int, float)):
                rows.append({"task": task, "item": str(sample["doc_id"]), "cluster": None, "metric": f"{metric}{by}",
                             "value": float(value), "weight": 1.0})  # fmt: skip
    return rows


def main() -> None:
    adapter()
    from lm_eval.__main__ import cli_evaluate

    sys.argv[0] = "lm_eval"
    cli_evaluate()


if __name__ == "__main__":
    main()
else:
    with contextlib.suppress(ConfigError):  # not installed: `read_results` still works
        adapter()
