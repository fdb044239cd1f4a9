"""Benchmarks: tasks as one file each, scores equal to the item to lm-evaluation-harness, one table of what was scored.

`task.py` says what a task is, `sources.py` finds its data, `items.py` makes its requests; `run.py` asks a model
(`protocol.py`: ours, one of transformers, an endpoint) what `cache.py` does not know; `metrics.py` and `shortcuts.py`
read figures off the answers, `result.py` and `folder.py` put them together.
"""
