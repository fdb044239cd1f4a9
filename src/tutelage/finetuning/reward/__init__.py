"""Reward modelling: a score for answers, learned from pairs."""
