"""Metrics, statistics, baselines, and the evaluation of several models together."""
