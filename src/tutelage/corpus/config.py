"""What the corpus is made of and how it is selected."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from tutelage.corpus.selection.config import SelectConfig
from tutelage.store.config import Config
from tutelage.store.errors import nearest


class DecontaminateConfig(Config):
    """Items of benchmarks in the corpus (`corpus.decontaminate`).

    `tasks`: names of benchmarks (`tutelage tasks`), task files (.yaml), or your own files of rows (JSON lines, CSV,
    Parquet), all of whose texts are searched for.
    """

    tasks: tuple[str, ...] = Field(min_length=1)
    action: Literal["remove", "mark"] = "remove"
    """`mark` keeps documents that contain items and only lists them (contaminated.jsonl)."""
    share: float = Field(default=0.5, ge=0.2, le=1.0)
    """Share of an item's weight that a document must contain; see `tutelage.corpus.benchmark_items`."""


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
    """Packages whose docstrings belong to `python`: those that Tutelage requires, or all installed ones."""
    text_field: str = Field(default="text", min_length=1)
    label_field: str = Field(default="label", min_length=1)
    boundary: Literal["auto", "file", "blank_line", "line", "heading", "marker"] = "auto"
    """What separates documents in a text file; `auto` guesses it per file and reports the guess."""
    marker: str = ""
    """The text that ends a document, unless it is a known one (`<|endoftext|>`, `</s>`, a form feed ...)."""
    max_characters: int = Field(default=2000, ge=0)
    """Longer documents of files (not of rows) are split into pieces of about this many characters, at the end of a
    paragraph or sentence; 0 splits none. Pieces limit the context that a model learns: a token is about four
    characters."""
    drop_banners: bool = True
    """Remove paragraphs that many documents share (headers, footers, licences)."""
    rules: tuple[Literal["gopher_repetition", "gopher_quality", "c4", "c4_lines", "fineweb", "refinedweb"], ...] = ()
    """Published rules for web text, with the papers' thresholds; applied to English documents only. FineWeb's are
    [gopher_repetition, gopher_quality, c4, fineweb]; set `prose` to false with them."""
    rule_words: Literal["fineweb", "paper"] = "fineweb"
    """How these rules count words: `fineweb` separates punctuation and contractions, `paper` splits at white
    space."""
    languages: tuple[str, ...] = ()
    """Keep documents in these languages only, e.g. [en, de] (ISO 639-1 codes); none: all."""
    blocklist: str = ""
    """A file of words and phrases, one per line; documents that contain one are removed."""
    pii: Literal["keep", "redact", "drop"] = "keep"
    """Personal data: kept, replaced by its kind in brackets, or its document dropped."""
    pii_kinds: tuple[Literal["email", "ip", "phone", "card", "key"], ...] = ("email", "ip", "phone", "card", "key")
    duplicate_pieces: Literal["keep", "paragraphs", "lines"] = "keep"
    """Keep only the first of repeated paragraphs, or of repeated lines."""
    prose: bool = True
    """Reduce English documents to sentences of prose; documents in other languages are unchanged. Set to
    false for code, verse, or lists."""
    skip_rules: tuple[str, ...] = ()
    """Rules of the prose step that are not applied (`corpus/prose.py` names them)."""
    min_words: int = Field(default=5, ge=1)
    heldout: float = Field(default=0.05, gt=0.0, lt=1.0)
    """Share of the documents that is held out from training."""
    near_duplicate_threshold: float = Field(default=0.7, ge=0.1, le=1.0)
    """Documents whose sets of word n-grams have at least this Jaccard similarity count as one."""
    near_duplicate_bands: int = Field(default=0, ge=0, le=128)
    near_duplicate_rows: int = Field(default=0, ge=0, le=128)
    """Banding of the search for near duplicates (its recall at a similarity s is 1 - (1 - s^rows)^bands); 0 chooses
    the most selective one that finds 98 % of the pairs at the threshold. FineWeb uses 14 bands of 8 rows."""
    max_overlap: float = Field(default=0.1, ge=0.0, le=1.0)
    """A held-out document is dropped if more of it (word 8-grams, or whole sentences) occurs in training documents."""
    max_documents: int = Field(default=0, ge=0)
    """Take at most this many documents from the source, chosen by hash; 0 takes all."""
    decontaminate: DecontaminateConfig | None = None
    """Remove, or list, documents that contain items of benchmarks; null skips the search."""
    select: SelectConfig | None = None
    """Select documents by quality, relevance and diversity under a budget; null keeps everything."""
    exclude_tests: bool = True
    """Exclude test modules (`python` source)."""
    measure_selection: bool = True
    """Measure, at each step of selection, how much of the held-out side is copied from the training side."""

    engine: Literal["processes", "daft", "ray"] = "processes"
    """What processes the parts of the corpus: processes of this machine, Daft on this machine, or Daft on Ray, on the
    cluster named by the environment variable RAY_ADDRESS. The result is the same."""

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
    def _banding_is_whole(self) -> CorpusConfig:
        bands, rows = self.near_duplicate_bands, self.near_duplicate_rows
        if bool(bands) != bool(rows):
            raise ValueError("near_duplicate_bands and near_duplicate_rows belong together: set both, or neither")
        if bands * rows > 1024:
            raise ValueError(f"{bands} bands of {rows} rows are {bands * rows:,} hashes a document; 1,024 are the most")
        return self

    @model_validator(mode="after")
    def _marker_is_used(self) -> CorpusConfig:
        if self.marker and self.boundary not in ("auto", "marker"):
            raise ValueError(f"marker is given, but boundary is {self.boundary!r}; set it to 'marker'")
        return self

    @field_validator("languages")
    @classmethod
    def _languages_are_codes(cls, codes: tuple[str, ...]) -> tuple[str, ...]:
        from tutelage.corpus.language import LANGUAGES  # late: a config is light to import

        for code in codes:
            if code not in LANGUAGES:
                raise ValueError(f"there is no language {code!r}; {nearest(code, sorted(LANGUAGES))}")
        return tuple(sorted(set(codes)))

    @field_validator("text_field", "label_field")
    @classmethod
    def _field_is_named(cls, value: str) -> str:
        if value != value.strip():
            raise ValueError("a field name neither begins nor ends with a space")
        return value
