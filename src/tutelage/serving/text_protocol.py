"""Requests about text that is not generated: tokens, templates, embeddings, decisions. Plain data."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tutelage.serving import neutral
from tutelage.serving.messages import ChatMessage
from tutelage.serving.protocol import Ids, Limits, TokenId, at_most
from tutelage.serving.sampling_protocol import Text
from tutelage.serving.strict import NULL, Strict, either

Texts = Annotated[list[Text], Field(min_length=1)]
Messages = Annotated[list[ChatMessage], Field(min_length=1)]


class TokenizeRequest(Strict):
    """POST /v1/tokenize: the ids of a text (as /v1/completions reads it) or of a conversation (as chat does)."""

    model_config = ConfigDict(
        json_schema_extra=either(
            {"prompt": {"type": "string"}, "messages?": NULL},
            {"messages": {"type": "array"}, "prompt?": NULL, "add_special_tokens?": {"const": True}},
        )
    )

    model: str
    prompt: str | None = None
    messages: Messages | None = None
    add_special_tokens: bool = Field(True, description="Of a prompt: with the token that begins a document.")
    return_token_strs: bool = False

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give either prompt or messages")
        if self.messages is not None and not self.add_special_tokens:
            raise ValueError("add_special_tokens goes with a prompt; the template of a conversation has its own")
        return self


class DetokenizeRequest(Strict):
    """POST /v1/detokenize: the text of ids."""

    model: str
    tokens: list[TokenId]


class TemplateRequest(Strict):
    """POST /v1/apply-template: a conversation as the model reads it, as text. For reading only: a content that holds
    the name of a control token looks like one here, and is none for the model."""

    model: str
    messages: Messages
    add_generation_prompt: bool = True


class EmbeddingRequest(Strict):
    """POST /v1/embeddings. Ids are read as they are, a text as the beginning of a document."""

    asks_nothing: ClassVar[neutral.Table] = {"user": (str,)}

    model: str
    input: Text | Texts | Ids | Annotated[list[Ids], Field(min_length=1)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1)] | None = Field(None, description="Only the model's own number is taken.")

    @property
    def texts(self) -> list[str | list[int]]:
        """What is to be embedded, one by one."""
        given = self.input
        if isinstance(given, str) or (given and isinstance(given[0], int)):
            return [given]  # type: ignore[list-item]
        return list(given)  # type: ignore[arg-type]

    def check(self, limits: Limits) -> None:
        at_most("input", len(self.texts), limits.texts, "texts")


class TranslationRequest(Strict):
    """POST /v1/translate: texts, or with `split` documents whose lines are translated sentence by sentence."""

    model_config = ConfigDict(
        json_schema_extra=either({"length_penalty?": NULL}, {"beams": {"type": "integer", "minimum": 2}})
    )

    asks_nothing: ClassVar[neutral.Table] = {"user": (str,)}

    model: str
    input: Text | Texts
    target: str | None = Field(None, description="The language, of a model that learned both directions.")
    split: bool = False
    beams: Annotated[int, Field(ge=1)] | None = Field(None, description="Of the search; 1 takes the likeliest token.")
    length_penalty: Annotated[float, Field(ge=-10, le=10)] | None = Field(None, description="Of beams, above 1 longer "
                                                                                            "ones gain.")  # fmt: skip
    max_tokens: Annotated[int, Field(ge=1)] | None = Field(None, description="Of a text or sentence; 128 by default.")

    @model_validator(mode="after")
    def _penalty_of_beams(self) -> Self:
        if self.length_penalty is not None and (self.beams or 1) == 1:
            raise ValueError("length_penalty goes with beams")
        return self

    @property
    def texts(self) -> list[str]:
        return [self.input] if isinstance(self.input, str) else self.input

    def check(self, limits: Limits) -> None:
        at_most("input", len(self.texts), limits.texts, "texts")
        at_most("beams", self.beams or 1, limits.choices, "beams")
        at_most("max_tokens", self.max_tokens or 0, limits.max_tokens, "tokens")


class TraceRequest(Strict):
    """POST /v1/trace: what of a text stands word by word in the text that the model was trained on, and where."""

    model: str
    input: str
    least_words: Annotated[int, Field(ge=1, le=1000)] | None = Field(None, description="Of a span; 6 by default.")


class ChoiceOption(Strict):
    value: str


class ChoiceQuestion(Strict):
    """Which of the classifier's labels fits. The choices are all of them, in any order."""

    asks_nothing: ClassVar[neutral.Table] = {"instructions": ("",)}

    type: Literal["choice"]
    choices: Annotated[list[ChoiceOption], Field(min_length=2, max_length=255)]
    name: str | None = None


class PredicateQuestion(Strict):
    """How likely one of the classifier's labels is, which is the name of the question."""

    asks_nothing: ClassVar[neutral.Table] = {"instructions": ("",)}

    type: Literal["predicate"]
    name: str


class DecisionRequest(Strict):
    """POST /v1/decisions. What is asked is what the classifier has learned: `instructions` would change nothing, and
    are refused unless they are empty."""

    asks_nothing: ClassVar[neutral.Table] = {"safety_identifier": (str,), "prompt_cache_key": (str,)}

    model: str
    input: str
    questions: Annotated[
        list[Annotated[ChoiceQuestion | PredicateQuestion, Field(discriminator="type")]],
        Field(min_length=1, max_length=400),
    ]
