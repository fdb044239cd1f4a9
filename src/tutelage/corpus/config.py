"""What the corpus is made of and how it is selected."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from tutelage.store.config import Config


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
    lines: Literal["join", "each"] = "join"
    """What a text file with one sentence a line gives: documents of a run of lines, or (`each`) of one line."""
    prose: bool = True
    """Keep sentences of English prose only; set to false for code, verse, or another language."""
    min_words: int = Field(default=5, ge=1)
    heldout: float = Field(default=0.05, gt=0.0, lt=1.0)
    """Share of the documents that is never trained on."""
    near_duplicate_threshold: float = Field(default=0.7, ge=0.1, le=1.0)
    """Documents whose sets of word n-grams have at least this Jaccard similarity count as one."""
    max_overlap: float = Field(default=0.1, ge=0.0, le=1.0)
    """A held-out document goes if a larger share of it (word 8-grams, or whole sentences) stands in training ones."""
    max_documents: int = Field(default=0, ge=0)
    """Take at most this many documents from the source, chosen by hash; 0 takes all."""
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

    @field_validator("text_field", "label_field")
    @classmethod
    def _field_is_named(cls, value: str) -> str:
        if value != value.strip():
            raise ValueError("a field name neither begins nor ends with a space")
        return value
