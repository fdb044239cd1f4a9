"""Continued pretraining: further text for a model that is there, without losing what it could."""
