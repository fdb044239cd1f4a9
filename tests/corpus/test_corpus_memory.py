"""The memory of the corpus stage does not grow with the corpus."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

_RUN = """
import resource, sys
from pathlib import Path
from tutelage.corpus.config import CorpusConfig
from tutelage.corpus.stage import build_corpus
from tutelage.store.events import EventLog

config = CorpusConfig(source=sys.argv[1], prose=False, measure_selection=False)
build_corpus(config, Path(sys.argv[2]), EventLog(), seed=1, workers=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def write_rows(path: Path, megabytes: int) -> None:
    """Rows of made-up words, in an order of its own each."""
    chance = random.Random(1)
    words = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(2, 9))) for _ in range(5000)]
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < megabytes * 1_000_000:
            rows = (" ".join(chance.choices(words, k=150)).capitalize() + "." for _ in range(500))
            file.writelines(json.dumps({"text": row}) + "\n" for row in rows)


@pytest.mark.slow
def test_three_times_the_text_takes_hardly_more_memory(tmp_path: Path) -> None:
    peaks = []
    for megabytes in (10, 30):
        source = tmp_path / f"{megabytes}.jsonl"
        write_rows(source, megabytes)
        command = [sys.executable, "-c", _RUN, str(source), str(tmp_path / f"out{megabytes}")]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    assert peaks[1] - peaks[0] < 12_000_000  # of 20 MB more; as objects in memory they would be 80
