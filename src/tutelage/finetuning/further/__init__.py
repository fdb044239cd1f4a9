"""Continued pretraining: train an existing model on more text with little forgetting."""
