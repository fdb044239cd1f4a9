"""Preflight check: statistics of a dataset as the model will read it, before training."""
