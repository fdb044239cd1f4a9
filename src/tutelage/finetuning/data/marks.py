"""Template markup in a user's rows: it is plain text there and does not become control tokens."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tutelage.finetuning.data.folder import data_files
from tutelage.store.errors import InputError
from tutelage.store.text import UNREADABLE, open_compressed

MARKED = 0.05  # share of the rows above which markup is no accident
READ = 1 << 21  # bytes of each file that are searched
STOP = re.compile(r"</s>|<\|im_end\|>|<\|eot_id\|>|<\|endoftext\|>|<eos>|<end_of_turn>|<\|end\|>|<\|eos\|>")
TEMPLATE = re.compile(
    r"### ?(?:Instruction|Input|Response|Human|Assistant)\b|\[/?INST\]|<\|im_start\|>|<\|start_header_id\|>|"
    r"<start_of_turn>|<\|(?:user|assistant|system)\|>|<<SYS>>"
)
LINES = (".jsonl", ".ndjson", ".csv", ".tsv", ".json")  # text files; others are not searched


def marks_of(data: str | None) -> dict[str, Any]:
    """Share of the lines in which an end mark, or a mark of a template, is written out, and the most frequent ones.

    Of a file of rows the lines are about its rows. Zeros without a file, or for one that is not text.
    """
    return _found([line for path in _files(data) for line in _lines(path)])


def marks_of_rows(rows: Iterable[Any]) -> dict[str, Any]:
    """The same of rows that were read."""
    return _found([json.dumps(row, ensure_ascii=False, default=str) for row in rows])


def _found(lines: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"stop_as_text": 0.0, "stop_mark": "", "template_as_text": 0.0, "template_mark": ""}
    for name, pattern in (("stop", STOP), ("template", TEMPLATE)) if lines else ():
        met = [pattern.search(line) for line in lines]
        counted = Counter(one.group() for one in met if one)
        found[f"{name}_as_text"] = sum(counted.values()) / len(lines)
        found[f"{name}_mark"] = counted.most_common(1)[0][0] if counted else ""
    return found


def _files(data: str | None) -> list[Path]:
    path = Path(data).expanduser() if data else None
    if path is None or not path.exists():
        return []
    if path.is_file():
        return [path]
    try:
        return [one.path for one in data_files(path)]
    except InputError:
        return []  # a folder of text for `further`; where rows are wanted, reading them says what is wrong


def _lines(path: Path) -> list[str]:
    """Whole lines of the beginning; of one that holds everything in one line, its objects."""
    if not any(path.name.lower().removesuffix(end).endswith(LINES) for end in (".gz", ".zst", ".bz2", ".xz", "")):
        return []
    try:
        with open_compressed(path) as file:
            text = file.read(READ).decode("utf-8", "replace")
    except UNREADABLE:
        return []  # said with its reason when the file is read
    lines = [line for line in text.splitlines() if line.strip()]
    return lines if len(lines) > 3 else text.split("},")
