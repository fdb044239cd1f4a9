"""A frame of fixed words around every text, added by the tokenizer itself and so also in other libraries."""

from __future__ import annotations

import json

from tutelage.store.errors import ConfigError
from tutelage.tokenizer.tokenizer import Tokenizer

TEXT = "{text}"


def with_frame(tok: Tokenizer, frame: str) -> Tokenizer:
    """The same tokenizer, which encloses each text in `frame`, e.g. 'This text: "{text}" is about'.

    The text is encoded to the same tokens as without a frame; special tokens added by the tokenizer enclose the frame.
    The frame is part of the definition's post-processor, so that transformers adds it too. Raises ConfigError unless
    `frame` contains "{text}" exactly once.
    """
    before, _, after = frame.partition(TEXT)
    if frame.count(TEXT) != 1:
        raise ConfigError(
            f"frame {frame!r} must contain {TEXT} exactly once", hint="e.g. 'This text: \"{text}\" is about'"
        )
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
    # A specific class would replace the post-processor by one built from these settings.
    settings = {key: value for key, value in tok.settings.items() if key not in ("add_bos_token", "add_eos_token")}
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    return Tokenizer(json.dumps(data, ensure_ascii=False), settings, tok.chat_template, tok.stop_ids)


def _piece(name: str, special: bool) -> dict[str, object]:
    return {"SpecialToken": {"id": name, "type_id": 0}} if special else {"Sequence": {"id": "A", "type_id": 0}}
