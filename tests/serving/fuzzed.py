"""Schemathesis, the whole of it, on a server with a tiny model: `make fuzz`.

Its arguments go on to `schemathesis run`; whose report and its last line are what counts. All of its
checks run but one, in whose place stands one that is as strict about the schema: what it allows is accepted, or refused
by a rule that no JSON schema can say (a name that two tools have, a pattern that is none, a prompt that is too long).
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import schemathesis
import torch
from served import classifier_of, indexed, serving

from byte_model import byte_tokenizer, random_model
from tool_templates import QWEN
from tutelage.inference.language_model import LanguageModel
from tutelage.serving.protocol import Limits
from tutelage.tokenizer.tokenizer import Tokenizer
from tutelage.tokenizer.translation import Translation, with_translation

KEY = "key"
BEYOND = ("invalid_value", "context_length_exceeded")


@schemathesis.check
def what_the_schema_allows_is_refused_by_a_rule_beyond_it_only(ctx: Any, response: Any, case: Any) -> None:
    if case.meta is not None and case.meta.generation.mode.is_positive and response.status_code == 400:
        error = response.json()["error"]
        assert error["code"] in BEYOND, f"the schema allows this: {error}"


def served_model() -> LanguageModel:
    """Random weights on bytes, with a template that writes tools, and a wording for translations."""
    plain = byte_tokenizer()
    model = random_model(plain)
    model.config = model.config.with_(max_position_embeddings=2048)
    taught = Tokenizer(plain.definition, plain.settings, QWEN)
    return LanguageModel(model, with_translation(taught, Translation("{text}")))


def main(arguments: list[str]) -> int:
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    lm = served_model()
    # Short answers and room for all of one client's, so that what is measured are the requests.
    limits = Limits(max_tokens=4, seconds=20, together=4)
    served: dict[str, Any] = {"model_name": "tiny", "api_key": KEY, "classifiers": {"spam": classifier_of(lm)}}
    with tempfile.TemporaryDirectory() as folder:
        index = indexed(Path(folder), ["What a model may have read, word by word."], lm.tokenizer)
        return fuzz(arguments, lm, limits, **served, traced=[index])


def fuzz(arguments: list[str], lm: LanguageModel, limits: Limits, **served: Any) -> int:
    """The exit status of schemathesis on a server of this model."""
    with serving(lm, limits, **served) as port:
        url = f"http://127.0.0.1:{port}/openapi.json"
        program = Path(sys.executable).with_name("schemathesis")
        fixed = ["--header", f"Authorization: Bearer {KEY}", "--exclude-checks", "positive_data_acceptance"]
        # Schemathesis loads this very file for the check above.
        hooks = {**os.environ, "SCHEMATHESIS_HOOKS": str(Path(__file__))}
        return subprocess.run([program, "run", url, *fixed, *arguments], check=False, env=hooks).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
