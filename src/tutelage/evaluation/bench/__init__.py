"""Benchmarks: one file per task, scores that equal lm-evaluation-harness item by item, one table of raw scores.

`task.py` says what a task is, `sources.py` finds its data, `items.py` makes its requests; `run.py` sends the requests
that are not in `cache.py` to a model (`protocol.py`: ours, a transformers model, an endpoint); `metrics.py` and
`shortcuts.py` compute figures from the answers, `result.py` and `folder.py` assemble them.
"""
