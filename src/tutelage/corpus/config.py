"""What the corpus is made of and how it is selected."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from tutelage.corpus.selection.config import SelectConfig
from tutelage.store.config import Config
from tutelage.store.errors import nearest


class CorpusConfig(Config):
    """Settings of the corpus stage; the defaults are those of the quickstart.

    `source` is one of
    - `python`: the documentation of this Python (language reference and docstrings, read from source);
    - a folder of text, Markdown, HTML, source code, CSV, JSON, JSON lines, Parquet and notebook files and wiki
      dumps, compressed or not, or a single such file;
    - `hf:NAME` or `hf:NAME:SPLIT`: a Hugging Face dataset (needs the `datasets` package and a network).
    """

    source: str = "python"
    packages: Literal["required", "installed"] = "required"
    """Whose docstrings belong to `python`: the packages Tutelage itself requires, or all installed."""
    text_field: str = Field(default="text", min_length=1)
    label_field: str = Field(default="label", min_length=1)
    boundary: Literal["auto", "file", "blank_line", "line", "heading", "marker"] = "auto"
    """What ends a document in a text file; `auto` guesses it of each file and says what it took."""
    marker: str = ""
    """The text that ends a document, where it is none of the known ones (`<|endoftext|>`, `</s>`, a form feed ...)."""
    max_characters: int = Field(default=2000, ge=0)
    """Longer documents of files (not of rows) are cut into pieces of about so many characters, where a paragraph or
    a sentence ends; 0 cuts none. A model learns no context beyond it: a token is about four characters."""
    drop_banners: bool = True
    """Take out paragraphs that many documents share (headers, footers, licences)."""
    prose: bool = True
    """Reduce English documents to sentences of prose; those in other languages stay as they are. Set to false for
    code, verse, or lists."""
    skip_rules: tuple[str, ...] = ()
    """Rules of the prose step that are not applied (`corpus/prose.py` names them)."""
    min_words: int = Field(default=5, ge=1)
    heldout: float = Field(default=0.05, gt=0.0, lt=1.0)
    """Share of the documents that is never trained on."""
    near_duplicate_threshold: float = Field(default=0.7, ge=0.1, le=1.0)
    """Documents whose sets of word n-grams have at least this Jaccard similarity count as one."""
    max_overlap: float = Field(default=0.1, ge=0.0, le=1.0)
    """A held-out document goes if a larger share of it (word 8-grams, or whole sentences) stands in training ones."""
    max_documents: int = Field(default=0, ge=0)
    """Take at most this many documents from the source, chosen by hash; 0 takes all."""
    select: SelectConfig | None = None
    """Keep what is best, most relevant and most diverse under a budget; null keeps everything."""
    exclude_tests: bool = True
    """Leave out test modules (`python` source)."""
    measure_selection: bool = True
    """Measure, at each step of selection, how much of the held-out side is copying of the training side."""

    @field_validator("source")
    @classmethod
    def _source_is_named(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("source is empty; name 'python', a file, a folder, or hf:NAME")
        if value.startswith("hf:") and not value.split(":")[1]:
            raise ValueError("hf: needs the name of a dataset, as in hf:roneneldan/TinyStories:train")
        return value

    @field_validator("skip_rules")
    @classmethod
    def _rules_are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if names:
            from tutelage.corpus.prose import RULES  # late: a config is light to import

            for name in names:
                if name not in RULES:
                    raise ValueError(f"there is no rule {name!r}; {nearest(name, list(RULES))}")
        return tuple(sorted(set(names)))

    @model_validator(mode="after")
    def _marker_is_used(self) -> CorpusConfig:
        if self.marker and self.boundary not in ("auto", "marker"):
            raise ValueError(f"marker is given, but boundary is {self.boundary!r}; set it to 'marker'")
        return self

    @field_validator("text_field", "label_field")
    @classmethod
    def _field_is_named(cls, value: str) -> str:
        if value != value.strip():
            raise ValueError("a field name neither begins nor ends with a space")
        return value
