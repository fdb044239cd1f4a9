"""Checkpoints that are whole or not there: written beside training, verified on load."""
