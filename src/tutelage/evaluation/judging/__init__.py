"""Judges and arenas: who answered better, by a model, a rule or people; and how far the judge is to be believed."""
