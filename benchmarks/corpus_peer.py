"""The peer of corpus_cpu.py: datatrove's filters and MinHash, in a Python of their own (see corpus_cpu.py).

Reads commands from standard input, `rules DOCUMENTS OUT` or `minhash DOCUMENTS OUT`, and answers each with one line of
JSON: CPU seconds. DOCUMENTS are JSON lines with `text`; OUT gets what the peer decided of each.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.utils.hashing import HashConfig
from datatrove.utils.logging import logger

BANDS, ROWS, WORDS = 14, 8, 5


def rules(documents: list[Document]) -> list[Any]:
    """Of each document the filter and reason that took it out, or the text that is left."""
    filters = [
        GopherRepetitionFilter(), GopherQualityFilter(), C4QualityFilter(filter_no_terminal_punct=False),
        FineWebQualityFilter(),
    ]  # fmt: skip
    decided: list[Any] = []
    for document in documents:
        said: Any = None
        for one in filters:
            result = one.filter(document)
            if result is not True:
                said = [type(one).__name__, result[1] if isinstance(result, tuple) else ""]
                break
        decided.append({"removed": said} if said else {"text": document.text})
    return decided


def minhash(documents: list[Document]) -> list[Any]:
    """Whether each document is kept."""
    folder = tempfile.mkdtemp()
    config = MinhashConfig(
        num_buckets=BANDS, hashes_per_bucket=ROWS, n_grams=WORDS, hash_config=HashConfig(precision=64)
    )
    kept: set[str] = set()

    def keep(data: Any, rank: int = 0, world_size: int = 1) -> Any:
        for document in data:
            kept.add(document.id)
            yield document

    stages = [
        ([documents, MinhashDedupSignature(output_folder=f"{folder}/sig", config=config)], 1),
        ([MinhashDedupBuckets(input_folder=f"{folder}/sig", output_folder=f"{folder}/b", config=config)], BANDS),
        ([MinhashDedupCluster(input_folder=f"{folder}/b", output_folder=f"{folder}/rm", config=config)], 1),
        ([documents, MinhashDedupFilter(input_folder=f"{folder}/rm"), keep], 1),
    ]
    for number, (steps, tasks) in enumerate(stages):
        LocalPipelineExecutor(pipeline=steps, tasks=tasks, workers=1, logging_dir=f"{folder}/log{number}").run()
    shutil.rmtree(folder)
    return [document.id in kept for document in documents]


def main() -> None:
    logger.remove()
    for line in sys.stdin:
        what, place, out = line.split()
        rows = [json.loads(row) for row in Path(place).read_text(encoding="utf-8").splitlines()]
        documents = [Document(text=row["text"], id=str(number)) for number, row in enumerate(rows)]
        begin = time.process_time()
        decided = rules(documents) if what == "rules" else minhash(documents)
        seconds = time.process_time() - begin
        Path(out).write_text(json.dumps(decided), encoding="utf-8")
        print(json.dumps({"cpu_seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
