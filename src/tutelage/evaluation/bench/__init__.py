"""Benchmarks: tasks as one file each, scores equal to the item to lm-evaluation-harness, one table of what was scored.

`task.py` says what a task is, `sources.py` finds its data, `items.py` makes its requests, `likelihoods.py` and the
adapters beside it answer them, `table.py` keeps the answers, `metrics.py` and `shortcuts.py` read figures off them.
"""
