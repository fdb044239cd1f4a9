"""Words that stand around every text that a model reads: a tokenizer that adds them by itself, as any library would."""

from __future__ import annotations

import json

from tutelage.store.errors import ConfigError
from tutelage.tokenizer.tokenizer import Tokenizer

TEXT = "{text}"


def with_frame(tok: Tokenizer, frame: str) -> Tokenizer:
    """The same tokenizer, which encloses each text in `frame`, e.g. 'This text: "{text}" is about'.

    The text itself has the tokens that it has alone. What the tokenizer adds by its own rule stays outside. The frame
    stands in the post-processor of the definition, so that transformers adds it too. Raises ConfigError where `frame`
    does not say once where the text stands.
    """
    before, _, after = frame.partition(TEXT)
    if frame.count(TEXT) != 1:
        raise ConfigError(f"frame {frame!r} must hold {TEXT} once", hint="e.g. 'This text: \"{text}\" is about'")
    around = {
        "before": [*tok.begin_ids, *tok.encode(before)],
        "after": [*tok.encode(after), *tok.end_ids],
    }
    marks = {name: ids for name, ids in around.items() if ids}
    data = json.loads(tok.definition)
    data["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [_piece(name, name in marks) for name in ("before", "text", "after") if name in (*marks, "text")],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            name: {"id": name, "ids": ids, "tokens": [tok.id_to_token(index) for index in ids]}
            for name, ids in marks.items()
        },
    }
    # A class of its own would make a post-processor of its own from these settings.
    settings = {key: value for key, value in tok.settings.items() if key not in ("add_bos_token", "add_eos_token")}
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    return Tokenizer(json.dumps(data, ensure_ascii=False), settings, tok.chat_template, tok.stop_ids)


def _piece(name: str, special: bool) -> dict[str, object]:
    return {"SpecialToken": {"id": name, "type_id": 0}} if special else {"Sequence": {"id": "A", "type_id": 0}}
